"""Whether the engine still works: vLLM's own `/health` says 200 while its core hangs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen3_in_engine.server.requests import Requests

PING_SECONDS = 1.0
SILENT_FACTOR = 10
"""An engine that answers pings but gives no token may wait for a picture or another server: it gets so much longer."""


class Liveness:
    """Asks the engine's core a question that its main loop must answer, again and again, and watches its processes."""

    def __init__(self, requests: Requests, stall_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._requests, self._stall, self._now = requests, stall_seconds, now
        self._asked_at: float | None = None
        self._processes: dict[int, str] = {}

    async def watch(self, engine: Any) -> None:
        """Ask for ever. Returns where the engine cannot be asked."""
        self._processes = dict(engine_processes())
        while hasattr(engine, "is_sleeping"):
            self._asked_at = self._now()
            with suppress(Exception):  # a dead engine is seen by `fault`
                await engine.is_sleeping()
            self._asked_at = None
            await asyncio.sleep(PING_SECONDS)

    def fault(self, engine: Any) -> str:
        """Why the server must be restarted; empty where it need not."""
        if getattr(engine, "errored", False):
            return "the engine is dead"
        for pid, start in self._processes.items():
            if _start_of(pid) != start:
                return f"process {pid} of the engine is gone"
        if self._asked_at is not None and (silent := self._now() - self._asked_at) > self._stall:
            return f"the engine has not answered for {silent:.0f} s"
        if (silent := self._requests.silent_seconds()) > self._stall * SILENT_FACTOR and _busy(engine):
            return f"{self._requests.waiting_on_engine()} requests have got no token for {silent:.0f} s"
        return ""


def _busy(engine: Any) -> bool:
    """Whether the engine itself has requests: one that is still fetching a picture is not there yet."""
    states = getattr(getattr(engine, "output_processor", None), "request_states", None)
    return bool(states)


def engine_processes() -> Iterator[tuple[int, str]]:
    """vLLM's core and workers below this process: pid, and when it started (so that a reused pid is another)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    below = {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= found
    for pid in below - {os.getpid()}:
        if _title(pid).startswith("VLLM::") and (start := _start_of(pid)):
            yield pid, start


def _start_of(pid: int) -> str:
    """When a process started, in clock ticks; empty where it is gone, or dead and not yet reaped."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5)); empty where there is no such process."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _title(pid: int) -> str:
    return _read(pid, "cmdline")[:64]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""Run commands and measure them: wall clock, CPU and memory of exactly those processes and their children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

GIB = 1024**3


@dataclass(frozen=True)
class Figure:
    """One run: seconds by the wall and of CPU, most memory of all processes together in bytes, bytes moved."""

    seconds: float
    cpu_seconds: float
    rss: int
    size: int

    @property
    def rate(self) -> float:
        """Bytes/s."""
        return self.size / self.seconds


def run(commands: Sequence[Sequence[str]], size: int, environment: dict[str, str]) -> Figure:
    """Run the commands side by side; `size` is what they move together. Raises RuntimeError when one fails."""
    begin = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, env=os.environ | environment, **quiet) for command in commands]  # type: ignore[call-overload]
    cpu, largest = 0.0, 0
    with Memory([process.pid for process in running]) as memory:
        for process, command in zip(running, commands, strict=True):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"exit {process.returncode}: {' '.join(command)}")
            cpu += usage.ru_utime + usage.ru_stime
            largest = max(largest, usage.ru_maxrss * 1024)
        seconds = time.monotonic() - begin
    return Figure(seconds, cpu, max(largest, memory.most), size)


class Memory:
    """The proportional set sizes of processes and all below them, added up a few times a second; `most` in bytes."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.most = 0
        self._pids = pids
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._measure, daemon=True)

    def __enter__(self) -> Memory:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _measure(self) -> None:
        while not self._ended.wait(0.2):
            self.most = max(self.most, sum(proportional_set(pid) for pid in self._pids))


def proportional_set(pid: int) -> int:
    """Bytes of a process and all below it; what several share counts once in all."""
    place, found = Path(f"/proc/{pid}"), 0
    with contextlib.suppress(OSError):
        for line in (place / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                found = int(line.split()[1]) * 1024
        for children in place.glob("task/*/children"):
            found += sum(proportional_set(int(child)) for child in children.read_text().split())
    return found


def middle(figures: Sequence[Figure]) -> Figure:
    """Medians of seconds and CPU, the largest memory."""
    return Figure(
        median(f.seconds for f in figures),
        median(f.cpu_seconds for f in figures),
        max(f.rss for f in figures),
        figures[0].size,
    )

"""Processes that outlive the launcher: started detached, recorded in a file, ended by the record."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from devcluster.paths import DevclusterError

GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """A process by pid and start time (clock ticks since boot): a pid alone may belong to another by now."""

    name: str
    pid: int
    started: int

    def alive(self) -> bool:
        return _start_time(self.pid) == self.started


def current(name: str, pid: int | None = None) -> Process | None:
    """The running process with this pid (default: our own); None when there is none."""
    pid = pid or os.getpid()
    started = _start_time(pid)
    return Process(name, pid, started) if started is not None else None


def start(name: str, command: Sequence[str | Path], log: Path, record: Path) -> Process:
    """Start a command in its own session, its output in `log`, and add it to the record."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    process = current(name, child.pid)
    if process is None:
        raise DevclusterError(f"{name} ended at once; its log: {log}\n{tail(log)}")
    save(record, [p for p in load(record) if p.name != name] + [process])
    return process


def load(record: Path) -> list[Process]:
    try:
        return [Process(**entry) for entry in json.loads(record.read_text())]
    except FileNotFoundError:
        return []


def save(record: Path, processes: Iterable[Process]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    staging = record.with_name(f".{record.name}.{os.getpid()}")
    staging.write_text(json.dumps([asdict(p) for p in processes], indent=1))
    staging.rename(record)


def stop(processes: Iterable[Process], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM to all at once, SIGKILL to those that still run `grace` seconds later, and wait until they are gone."""
    processes = list(processes)
    _signal(processes, signal.SIGTERM)
    if not _wait_gone(processes, grace):
        _signal(processes, signal.SIGKILL)
        _wait_gone(processes, GRACE_SECONDS)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def _signal(processes: list[Process], number: int) -> None:
    for process in processes:
        if process.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _wait_gone(processes: list[Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(p.alive() for p in processes):
        for process in processes:  # reap those that are children of ours
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when there is no such process, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    return None if fields[0] == "Z" else int(fields[19])

"""Run commands and measure them: wall clock, CPU and memory of exactly those processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

GIB = 1024**3


@dataclass(frozen=True)
class Figure:
    """One run: seconds by the wall and of CPU, largest resident set of one process in bytes, bytes moved."""

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
    cpu, rss = 0.0, 0
    for process, command in zip(running, commands, strict=True):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"exit {process.returncode}: {' '.join(command)}")
        cpu += usage.ru_utime + usage.ru_stime
        rss = max(rss, usage.ru_maxrss * 1024)
    return Figure(time.monotonic() - begin, cpu, rss, size)


def middle(figures: Sequence[Figure]) -> Figure:
    """Medians of seconds and CPU, the largest memory."""
    return Figure(
        median(f.seconds for f in figures),
        median(f.cpu_seconds for f in figures),
        max(f.rss for f in figures),
        figures[0].size,
    )

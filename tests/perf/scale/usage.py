"""CPU seconds and memory of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def machine_seconds() -> float:
    """CPU seconds that all processes of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS


class Meter:
    """What each of some processes, and the rest of the machine, has used since the last `reset`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self.reset()

    def reset(self) -> None:
        """Count from now."""
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """CPU seconds by name; `others`: of what does not belong to the bench, which spoils its figures."""
        now = self._now()
        used = {name: now[name] - self._before[name] for name in now}
        everything = used.pop("machine")
        return used | {"others": max(0.0, everything - sum(used.values()))}

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._pids.items()} | {"machine": machine_seconds()}

"""How many servers are wanted and ready over time, under which load, and who says how many."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from demo.kube import DemoError

LOOK_SECONDS = 3.0
TOLD_SECONDS = 30.0
"""How often a look is printed in which nothing is new."""


@dataclass(frozen=True)
class Look:
    """What is to be seen at one moment."""

    at: float
    wanted: int
    ready: int
    load: float | None
    """What the autoscaler is told; None where it is told nothing."""
    writers: frozenset[str]
    """Field managers of the number of servers."""

    @property
    def servers(self) -> tuple[int, int]:
        """(wanted, ready)"""
        return self.wanted, self.ready


@dataclass
class Curve:
    """All looks so far."""

    looks: list[Look] = field(default_factory=list)

    @property
    def last(self) -> Look:
        """The newest."""
        return self.looks[-1]

    def since(self, moment: float) -> list[Look]:
        """Those from a moment on."""
        return [look for look in self.looks if look.at >= moment]

    def printed(self) -> str:
        """A line for each look with something new, and now and then one more."""
        lines, told = [], None
        for look in self.looks:
            if told is None or look.servers != told.servers or look.at - told.at >= TOLD_SECONDS:
                load = "-" if look.load is None else f"{look.load:g}"
                lines.append(f"{_clock(look.at)}  wanted {look.wanted}  ready {look.ready}  load {load}")
                told = look
        return "\n".join(lines)


@contextlib.contextmanager
def curve(deployment: Callable[[], dict[str, Any]], load: Callable[[], float | None]) -> Iterator[Curve]:
    """Look at a Deployment of servers, and at the load, until the end of the block; the first look is there at once."""
    it, stop = Curve(), threading.Event()

    def look() -> None:
        it.looks.append(_seen(deployment(), load()))

    def work() -> None:
        while not stop.wait(LOOK_SECONDS):
            with contextlib.suppress(DemoError, OSError):  # a busy machine: it looks again
                look()

    look()
    watcher = threading.Thread(target=work)
    watcher.start()
    try:
        yield it
    finally:
        stop.set()
        watcher.join()


def writers(deployment: dict[str, Any]) -> frozenset[str]:
    """Field managers that have a say in the number of servers."""
    entries = deployment["metadata"]["managedFields"]
    return frozenset(it["manager"] for it in entries if "f:replicas" in it["fieldsV1"].get("f:spec", {}))


def quantiles(answers: Iterable[tuple[float, float]], since: float, until: float) -> str:
    """How long the answers of a time took."""
    found = [seconds for at, seconds in answers if since <= at < until]
    if len(found) < 2:
        return f"answers {len(found)}"
    cuts = statistics.quantiles(found, n=20, method="inclusive")
    return f"answers {len(found)}  p50 {cuts[9]:.2f} s  p95 {cuts[18]:.2f} s"


def _seen(deployment: dict[str, Any], load: float | None) -> Look:
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    return Look(time.time(), deployment["spec"]["replicas"], ready, load, writers(deployment))


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))

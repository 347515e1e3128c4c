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

SAMPLE_SECONDS = 3.0
PRINT_SECONDS = 30.0
"""How often a sample is printed in which nothing is new."""


@dataclass(frozen=True)
class Sample:
    """What is to be seen at one moment."""

    at: float
    wanted: int
    ready: int
    load: float | None
    """What the autoscaler reads; None where it reads nothing."""
    writers: frozenset[str]
    """Field managers of the number of servers."""

    @property
    def servers(self) -> tuple[int, int]:
        """(wanted, ready)"""
        return self.wanted, self.ready


@dataclass
class Curve:
    """All samples so far."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def last(self) -> Sample:
        """The newest."""
        return self.samples[-1]

    def since(self, moment: float) -> list[Sample]:
        """Those from a moment on."""
        return [sample for sample in self.samples if sample.at >= moment]

    def printed(self) -> str:
        """A line for each sample with something new, and now and then one more."""
        lines, shown = [], None
        for sample in self.samples:
            if shown is None or sample.servers != shown.servers or sample.at - shown.at >= PRINT_SECONDS:
                load = "-" if sample.load is None else f"{sample.load:g}"
                lines.append(f"{_clock(sample.at)}  wanted {sample.wanted}  ready {sample.ready}  load {load}")
                shown = sample
        return "\n".join(lines)


@contextlib.contextmanager
def curve(deployment: Callable[[], dict[str, Any]], load: Callable[[], float | None]) -> Iterator[Curve]:
    """Sample a Deployment of servers, and the load, until the end of the block; the first sample is there at once."""
    it, stop = Curve(), threading.Event()

    def sample() -> None:
        it.samples.append(_seen(deployment(), load()))

    def work() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            with contextlib.suppress(DemoError, OSError):  # a busy machine: it tries again
                sample()

    sample()
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


def _seen(deployment: dict[str, Any], load: float | None) -> Sample:
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    return Sample(time.time(), deployment["spec"]["replicas"], ready, load, writers(deployment))


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))

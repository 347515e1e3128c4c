"""Prometheus metrics of the operator, in the default registry."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

API_REQUESTS = Counter("qwen3_operator_api_requests", "Requests to the API server", ["verb", "resource", "code"])
API_SECONDS = Histogram(
    "qwen3_operator_api_request_seconds", "Seconds of a request to the API server", ["verb"], buckets=_SECONDS
)
RECONCILES = Counter(
    "qwen3_operator_reconciles",
    "Reconciles of objects: ok, conflict or error",
    ["kind", "result"],
)
RECONCILE_SECONDS = Histogram(
    "qwen3_operator_reconcile_seconds", "Seconds of a reconcile of an object", ["kind"], buckets=_SECONDS
)
STARTUP_SECONDS = Histogram(
    "qwen3_operator_server_startup_seconds",
    "Seconds of a stage of a server's start",
    ["stage"],
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
QUEUE_LENGTH = Gauge("qwen3_operator_queue_length", "Objects that wait for a worker")
LOOP_LAG = Gauge("qwen3_operator_loop_lag_seconds", "How late the event loop woke up at the last check")
LEADER = Gauge("qwen3_operator_leader", "1 while this process holds the Lease")
BUILD = Info("qwen3_operator_build", "The operator's version")


class ObjectGauge(Collector):
    """A gauge whose series belong to objects: there is one as long as the object says so, and none without it.

    The values are plain numbers here. prometheus_client's own gauge takes a kilobyte and ten objects for each, which
    Python's garbage collector goes through again and again: with thousands of objects that held up the event loop.
    """

    all: ClassVar[list[ObjectGauge]] = []

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._values: dict[Hashable, dict[tuple[str, ...], float]] = {}
        self.all.append(self)
        REGISTRY.register(self)

    def show(self, key: Hashable, values: Mapping[tuple[str, ...], float]) -> None:
        """Let these be the series of the object `key`: label values -> value. Those before go."""
        if values:
            self._values[key] = dict(values)
        else:
            self._values.pop(key, None)

    def describe(self) -> Iterable[Metric]:
        """The gauge without its series."""
        yield GaugeMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[Metric]:
        """The gauge as it is scraped."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for values in self._values.values():
            for labels, value in values.items():
                family.add_metric(labels, value)
        yield family


def forget(key: Hashable) -> None:
    """Drop all series of an object that is gone."""
    for gauge in ObjectGauge.all:
        gauge.show(key, {})


CONDITION = ObjectGauge(
    "qwen3_operator_condition",
    "1 while the condition is True, of the conditions that alerts are made of",
    ["kind", "namespace", "name", "type"],
)
NOT_READY = ObjectGauge(
    "qwen3_operator_not_ready",
    "1 for an object that is not Ready, with the reason of that condition",
    ["kind", "namespace", "name", "reason"],
)

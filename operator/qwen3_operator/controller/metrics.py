"""Prometheus metrics of the operator, in the default registry."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from prometheus_client import Counter, Gauge, Histogram, Info

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
    "qwen3_operator_reconcile_seconds", "Seconds of a look at an object", ["kind"], buckets=_SECONDS
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
CONDITION = Gauge(
    "qwen3_operator_condition",
    "1 while the condition is True, of the conditions that alerts are made of",
    ["kind", "namespace", "name", "type"],
)
NOT_READY = Gauge(
    "qwen3_operator_not_ready",
    "1 for an object that is not Ready, with the reason of that condition",
    ["kind", "namespace", "name", "reason"],
)
BUILD = Info("qwen3_operator_build", "The operator's version")


class OfObjects:
    """Series of gauges that belong to an object: there is one as long as the object says so, and none without it."""

    def __init__(self) -> None:
        self._shown: dict[Hashable, dict[Gauge, set[tuple[str, ...]]]] = {}

    def show(self, key: Hashable, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """Let these be the object's series of `gauge`: label values -> value. Those before that are not among them
        go."""
        shown = self._shown.setdefault(key, {})
        self._remove(gauge, shown.pop(gauge, set()) - values.keys())
        if values:
            shown[gauge] = set(values)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)

    def forget(self, key: Hashable) -> None:
        """Drop all series of an object that is gone."""
        for gauge, shown in self._shown.pop(key, {}).items():
            self._remove(gauge, shown)

    def _remove(self, gauge: Gauge, series: Iterable[tuple[str, ...]]) -> None:
        for labels in series:
            gauge.remove(*labels)


OBJECTS = OfObjects()

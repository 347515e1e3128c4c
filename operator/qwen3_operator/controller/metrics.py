"""Prometheus metrics of the operator, in the default registry."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from prometheus_client import Counter, Gauge, Histogram

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
    "1 while the condition is True, of the conditions that alerts are made of: Ready and Stalled",
    ["kind", "namespace", "name", "type"],
)
ALERTING = ("Ready", "Stalled")


def show_conditions(kind: str, namespace: str, name: str, conditions: Iterable[Mapping[str, str]]) -> None:
    """Set `qwen3_operator_condition` of one object."""
    for condition in conditions:
        if condition["type"] in ALERTING:
            CONDITION.labels(kind, namespace, name, condition["type"]).set(condition["status"] == "True")


def forget_conditions(kind: str, namespace: str, name: str) -> None:
    """Drop the series of an object that is gone."""
    for condition in ALERTING:
        with contextlib.suppress(KeyError):
            CONDITION.remove(kind, namespace, name, condition)

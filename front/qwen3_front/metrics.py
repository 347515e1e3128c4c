"""Prometheus metrics of the front, in a registry of their own."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_OF = ["namespace", "name"]

WAITING = Gauge("qwen3_front_waiting", "Requests that wait for a server", _OF, registry=REGISTRY)
FORWARDED = Gauge(
    "qwen3_front_forwarded", "Requests that are with a server, by way of the front", _OF, registry=REGISTRY
)
REQUESTS = Counter(
    "qwen3_front_requests",
    "Requests that are over: served, full, late, refused, too_large, cut (by the client) or lost (with the server)",
    [*_OF, "result"],
    registry=REGISTRY,
)
WAIT_SECONDS = Histogram(
    "qwen3_front_wait_seconds",
    "Seconds that requests waited that a server took",
    _OF,
    buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200),
    registry=REGISTRY,
)
BYTES = Gauge("qwen3_front_waiting_bytes", "Bodies of all waiting requests", registry=REGISTRY)
CONNECTIONS = Gauge("qwen3_front_connections", "Connections of clients", registry=REGISTRY)
RESULTS = ("served", "full", "late", "refused", "too_large", "cut", "lost")


def forget(namespace: str, name: str) -> None:
    """Drop all series of a deployment that is gone."""
    series = [(WAITING, ()), (FORWARDED, ()), (WAIT_SECONDS, ()), *((REQUESTS, (result,)) for result in RESULTS)]
    for metric, more in series:
        with suppress(KeyError):
            metric.remove(namespace, name, *more)

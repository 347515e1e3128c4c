"""A /metrics with all that a vLLM of some version shows, by vllm_metrics.yaml: a server that works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from tests.monitoring.exporter import served

BY_VERSION: dict[str, dict[str, dict[str, list[str]]]] = yaml.safe_load(
    Path(__file__).with_name("vllm_metrics.yaml").read_text()
)
_TYPES: dict[str, Any] = {"gauge": Gauge, "counter": Counter, "histogram": Histogram}
_SAMPLES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def samples(version: str) -> set[str]:
    """Names of all samples that the version shows."""
    kinds = BY_VERSION[version].items()
    return {name + suffix for kind, names in kinds for name in names for suffix in _SAMPLES[kind]}


@contextlib.contextmanager
def serving(version: str) -> Iterator[int]:
    """Serve it; gives the port."""
    registry = CollectorRegistry()
    for kind, names in BY_VERSION[version].items():
        for name, more in names.items():
            metric = _TYPES[kind](name, name, ["model_name", "engine", *more], registry=registry)
            child = metric.labels("Qwen3-8B", "0", *("stop" for _ in more))
            {"gauge": lambda it: it.set(0.5), "counter": lambda it: it.inc(), "histogram": lambda it: it.observe(1)}[
                kind
            ](child)
    with served(registry) as port:
        yield port

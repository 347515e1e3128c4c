"""What KEDA asks Prometheus for: a real one answers, over servers of an old and a new vLLM, and over none."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.monitoring import scrapes, vllm_exporter
from tests.monitoring.exporter import served
from tests.monitoring.prometheus import Prometheus, prometheus

from qwen3_operator.api.autoscaling import Autoscaling
from qwen3_operator.desired.autoscaling import scaled_object

pytestmark = pytest.mark.cluster  # helm and Prometheus are no programs of the unit tests
NAMESPACE, SERVED, ASLEEP, STARTING = "team", "chat", "asleep", "starting"
FRONT = "system/front"
COMMAND = ("vllm", "serve", "/models/m", "--max-num-seqs", "1")
TARGETS: list[dict[str, int]] = [{"concurrency": 8}, {"queue": 8}, {"kvCache": 70}]
EACH = {
    "concurrency": 2.0,
    "queue": 1.0,
    "kv-cache": 100.0,
    "batch-full": 1.25,
    "kv-cache-full": 1.25,
}
"""Of two servers with half a request running, half a one waiting, and half of the KV cache in use."""


def queries(name: str, least: int, front: str = "") -> dict[str, str]:
    """Every query of every target to Prometheus, as it is in the ScaledObject."""
    found: dict[str, str] = {}
    for target in TARGETS:
        autoscaling = Autoscaling.model_validate({"minReplicas": least, "maxReplicas": 4, "target": target})
        made = scaled_object(NAMESPACE, name, "u", autoscaling, prometheus="http://p", command=COMMAND, front=front)
        reported = (it for it in made["spec"]["triggers"] if it["type"] == "prometheus")
        found |= {it["name"]: it["metadata"]["query"] for it in reported}
    return found


@contextlib.contextmanager
def operator_with_metrics() -> Iterator[int]:
    """The operator's word about a deployment with servers, one that was scaled to zero, and one that starts; gives the
    port."""
    registry = CollectorRegistry()
    labels = ["namespace", "qwen3deployment"]
    wanted = Gauge("qwen3_operator_deployment_replicas", "Servers that are wanted", labels, registry=registry)
    ready = Gauge("qwen3_operator_deployment_ready_replicas", "Servers that are ready", labels, registry=registry)
    for name, many, there in ((SERVED, 2, 2), (ASLEEP, 0, 0), (STARTING, 1, 0)):
        wanted.labels(NAMESPACE, name).set(many)
        ready.labels(NAMESPACE, name).set(there)
    with served(registry) as port:
        yield port


def second(job: dict[str, Any]) -> dict[str, Any]:
    """The scrape of another pod."""
    other = copy.deepcopy(job) | {"job_name": "servers-2"}
    other["static_configs"][0]["labels"]["pod"] += "b"
    return other


async def test_every_query_gives_the_load_of_all_servers(tmp_path: Path) -> None:
    with (
        vllm_exporter.serving("0.18.1") as old,
        vllm_exporter.serving("0.33.0") as new,
        operator_with_metrics() as operator,
    ):
        jobs = [
            scrapes.of_operator(operator),
            scrapes.of_server(old, SERVED, namespace=NAMESPACE),
            second(scrapes.of_server(new, SERVED, namespace=NAMESPACE)),
        ]
        with prometheus(tmp_path, jobs) as it:

            async def gives(expected: dict[str, float], name: str, least: int, front: str = "") -> bool:
                return await asyncio.to_thread(_answers, it, queries(name, least, front), expected) == expected

            none = dict.fromkeys(EACH, 0.0)
            assert await gives(EACH, SERVED, 0) and await gives(EACH, SERVED, 0, FRONT) and await gives(EACH, SERVED, 1)
            assert await gives(none, ASLEEP, 0) and await gives(none, ASLEEP, 0, FRONT), "none is wanted"
            assert await gives(none, STARTING, 0, FRONT), "all that is asked waits at the front"
            assert await gives({}, STARTING, 0) and await gives({}, ASLEEP, 1), "no data is no zero"


def _answers(it: Prometheus, asked: dict[str, str], expected: dict[str, float]) -> dict[str, float]:
    """Value of each query that has one, once they are as expected; KEDA takes a single series."""
    until = time.monotonic() + 30
    while True:
        series = {name: it.query(query) for name, query in asked.items()}
        found = {name: float(one["value"][1]) for name, (one,) in ((n, s) for n, s in series.items() if s)}
        if found == expected or time.monotonic() > until:
            return found
        time.sleep(0.5)

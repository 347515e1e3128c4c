"""What a server can bear: it measures itself in its pod, the operator reads it there, and the next server finds it."""

from __future__ import annotations

import json

import pytest
from demo.kube import wait_until
from tests.documents.shell import Shell
from tests.documents.snippets import documented
from tests.e2e.world import World

from qwen3_in_engine.capacity.contract import MEASURES
from qwen3_operator.engine.capacity import result_in_log

NAME, BATCH = "measured", 2
BENCHMARK = {"inputTokens": 64, "outputTokens": 16, "ttftP95Milliseconds": 600_000, "maxSeconds": 180}


def log_of(world: World, pod: str) -> str:
    return world.kubectl("logs", pod)


@pytest.mark.nightly  # two starts of a server; tests/engine_real/test_capacity.py has the measurement
def test_it_is_measured_once_shown_and_planned_with(world: World, person: Shell) -> None:
    manifest = world.example(
        NAME, benchmark=lambda it: it.update(BENCHMARK), engine=lambda it: it.update(maxNumSeqs=BATCH)
    )
    world.apply(manifest)
    live = world.ready(NAME)
    (first,) = (pod["metadata"]["name"] for pod in world.servers(NAME))
    assert MEASURES in log_of(world, first), "before it was ready"
    result = result_in_log(log_of(world, first).splitlines())
    assert result and not result.error, result
    reported = documented("kubectl get qwen3deployment measured -o jsonpath='{.status.capacity}'")
    capacity = json.loads(wait_until("it is shown", lambda: person(reported), timeout=60) or "")
    print(capacity)
    image = world.tiny["spec"]["engine"]["image"]
    assert (capacity["concurrencyAtTarget"], capacity["endedBy"], capacity["image"]) == (BATCH, "batch", image)
    assert capacity["tokensPerSecond"] > 0 and capacity["ttftP95Milliseconds"] > 0
    assert capacity["measuredAt"] >= live["metadata"]["creationTimestamp"]

    world.patch(NAME, {"replicas": 2})
    world.ready(NAME)
    (second,) = {pod["metadata"]["name"] for pod in world.servers(NAME)} - {first}
    assert "its capacity is known" in log_of(world, second) and MEASURES not in log_of(world, second)

    plan = world.plugin(*documented("kubectl qwen3 plan --users 500 measured").split()[2:])
    print(plan)
    assert str(500 // BATCH) in plan
    world.delete(NAME)
    assert not world.get("configmaps", "--field-selector", f"metadata.name={NAME}-capacity")["items"]

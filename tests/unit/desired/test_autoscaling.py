"""What a ScaledObject says, and how many servers come of a load by the rule of the HorizontalPodAutoscaler."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.cluster.wrappers import Q3d

from qwen3_operator.api.autoscaling import Autoscaling, ScalingTarget
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.autoscaling import (
    AWAKE_SECONDS,
    KEDA,
    ROOM_PERCENT,
    SCALED_BY,
    requests_of_one,
    scaled_object,
    servers_needed,
    servers_wanted,
)
from qwen3_operator.desired.disruption import wants_budget
from qwen3_operator.engine.capacity import FEWEST_SEQS, most_seqs

COMMAND = ("vllm", "serve", "/models/m", "--max-num-seqs", "64")


def made(target: dict[str, int], *, front: str = "", **fields: Any) -> dict[str, Any]:
    autoscaling = Autoscaling.model_validate({"maxReplicas": 4, "target": target} | fields)
    it = scaled_object("team", "chat", "u", autoscaling, prometheus="http://p:9090", command=COMMAND, front=front)
    spec: dict[str, Any] = it["spec"]
    return spec


def queries(target: dict[str, int], **fields: Any) -> dict[str, str]:
    triggers = made(target, **fields)["triggers"]
    return {it["name"]: it["metadata"]["query"] for it in triggers if it["type"] == "prometheus"}


def spec(**fields: Any) -> Qwen3DeploymentSpec:
    autoscaling = {"minReplicas": 2, "maxReplicas": 4, "target": {"queue": 4}}
    return Qwen3DeploymentSpec.model_validate(Q3d().set(**({"autoscaling": autoscaling} | fields)).spec)


def server(replicas: int, *, given: bool = False) -> dict[str, Any]:
    return {"metadata": {"annotations": {SCALED_BY: KEDA} if given else {}}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("fields", "there", "wanted"),
    [
        ({}, None, 2),
        ({}, server(1), 2),
        ({}, server(3), 3),
        ({}, server(9), 4),
        ({}, server(1, given=True), 1),
        ({}, server(0, given=True), 0),
        ({"suspend": True}, server(3, given=True), 0),
        ({"autoscaling": None, "replicas": 3}, server(1, given=True), 3),
    ],
)
def test_servers_that_are_wanted(fields: dict[str, Any], there: dict[str, Any] | None, wanted: int) -> None:
    assert servers_wanted(spec(**fields), there) == wanted


def test_servers_that_are_needed() -> None:
    assert [servers_needed(spec(), wanted) for wanted in (0, 1, 2, 4)] == [0, 1, 2, 2]
    assert servers_needed(spec(autoscaling=None), 3) == 3


def test_a_budget_is_there_where_there_may_be_two() -> None:
    assert wants_budget(spec())
    assert not wants_budget(spec(autoscaling={"maxReplicas": 1, "target": {"queue": 1}}, replicas=3))


def test_the_batch_is_as_large_as_the_command_says() -> None:
    assert most_seqs(COMMAND) == 64
    for words in ("", "--max-num-seqs", "--max-num-seqs 1k", f"--max-num-seqs {'9' * 5000}"):
        assert most_seqs(words.split()) == FEWEST_SEQS
    assert most_seqs(["--max-num-seqs", "0"]) == 1


@pytest.mark.parametrize(("target", "requests"), [({"concurrency": 8}, 8), ({"queue": 4}, 68), ({"kvCache": 70}, 64)])
def test_requests_that_one_server_is_woken_for(target: dict[str, int], requests: int) -> None:
    assert requests_of_one(ScalingTarget.model_validate(target), COMMAND) == requests


@pytest.mark.parametrize(("delay", "cool"), [(0, AWAKE_SECONDS), (600, 600)])
def test_it_stays_awake_until_its_load_can_be_seen(delay: int, cool: int) -> None:
    assert made({"concurrency": 8}, scaleDownDelaySeconds=delay)["cooldownPeriod"] == cool


def test_all_queries_are_of_these_servers_alone() -> None:
    for target in ({"concurrency": 8}, {"queue": 8}, {"kvCache": 70}):
        for query in queries(target).values():
            assert query.count('{namespace="team",qwen3deployment="chat"}') == query.count("vllm:")


def test_zero_is_not_the_same_as_no_data() -> None:
    """A server that is not ready has no load where requests wait at a front; without one, only what is not wanted."""
    series = '{namespace="team",qwen3deployment="chat"} == 0'
    wanted, ready = (f"qwen3_operator_deployment_{gauge}{series}" for gauge in ("replicas", "ready_replicas"))
    for front, its_word, other in (("", wanted, ready), ("system/front", ready, wanted)):
        for query in queries({"queue": 8}, minReplicas=0, front=front).values():
            assert its_word in query and other not in query
        assert not any(series in query for query in queries({"queue": 8}, front=front).values())


def wanted(values: dict[str, float], thresholds: dict[str, int], now: int, least: int, most: int) -> int:
    """The rule of the HorizontalPodAutoscaler for AverageValue: nothing within 10 %, else the most of all metrics."""

    def of(value: float, threshold: int) -> int:
        return now if abs(value / (threshold * now) - 1) <= 0.1 else math.ceil(value / threshold)

    return min(most, max(least, *(of(value, thresholds[name]) for name, value in values.items())))


@pytest.mark.parametrize("users", range(1, 300, 7))
def test_a_queue_settles_at_every_steady_load(users: int) -> None:
    """Closed load on servers that take 64 at a time: whatever their number was, it comes to one where it stays."""
    seqs = most_seqs(COMMAND)
    thresholds = {it["name"]: int(it["metadata"]["threshold"]) for it in made({"queue": 8})["triggers"]}
    for start in range(1, 5):
        seen = [start]
        for _ in range(12):
            now = seen[-1]
            running = min(users, now * seqs)
            held = min(100 * running / (seqs * ROOM_PERCENT), now)
            values = {"queue": users - running, "batch-full": held, "kv-cache-full": 0.0}
            assert set(values) == set(thresholds)
            seen.append(wanted(values, thresholds, now, 1, 4))
        assert len(set(seen[-6:])) == 1, f"{users} users: {seen}"

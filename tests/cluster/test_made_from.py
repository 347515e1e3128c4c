"""What was applied is read from what is there: a refused change changes nothing, another operator restarts nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

from qwen3_operator.desired.made_from import ANNOTATION

TOO_LONG = 40960
"""Of Qwen3-0.6B, on a GPU of 4 GiB."""


def template(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.must("Deployment", "chat")["spec"]["template"]
    return found


def pods(world: World) -> set[str]:
    """uids of the servers' pods."""
    return {pod["metadata"]["uid"] for pod in world.list("Pod") if pod["metadata"]["name"].startswith("chat-")}


def test_a_change_that_does_not_fit_leaves_what_runs(world: World) -> None:
    """Longer than any requeue: the first answer must not be taken for what was applied."""
    world.apply(Q3d().set(gpu={"memory": "4Gi"}).engine(maxModelLen=1024))
    world.wait_ready("chat")
    before, servers = template(world), pods(world)
    world.patch("Qwen3Deployment", "chat", {"spec": {"engine": {"maxModelLen": TOO_LONG}}})
    found = world.wait_condition("chat", "Fits", "False", reason="DoesNotFit")
    assert "Meanwhile 1 servers go on" in found["message"] and "maxModelLen 1024" in found["message"]
    stays(lambda: world.condition("chat", "Fits").get("reason") == "DoesNotFit", seconds=13)
    assert template(world) == before and pods(world) == servers
    world.patch("Qwen3Deployment", "chat", {"spec": {"engine": {"maxModelLen": 1024}}})
    world.wait_ready("chat")
    assert pods(world) == servers, "the way back restarts nothing"


def test_a_refused_spec_leaves_what_runs_and_suspend_stops_it(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    before = template(world)
    world.patch("Qwen3Deployment", "chat", {"spec": {"engine": {"extraArgs": ["--no-such-flag"]}, "replicas": 3}})
    found = world.wait_condition("chat", "Accepted", "False")
    assert "Meanwhile" in found["message"]
    assert world.must("Deployment", "chat")["spec"]["replicas"] == 1 and template(world) == before
    world.set_spec("chat", suspend=True)
    world.wait(lambda: world.must("Deployment", "chat")["spec"]["replicas"] == 0, "no server runs")


def test_the_plan_stands_on_the_deployment(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    made = json.loads(world.must("Deployment", "chat")["metadata"]["annotations"][ANNOTATION])
    shown = {entry["field"]: entry["value"] for entry in world.must("Qwen3Deployment", "chat")["status"]["plan"]}
    assert {value["field"]: value["value"] for value in made["values"]} == shown


@pytest.fixture
def another_operator(
    operator: OperatorProcess, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., OperatorProcess]]:
    """Starts an operator with other settings in the place of the session's."""
    started: list[OperatorProcess] = []

    def start(**settings: str) -> OperatorProcess:
        for running in [operator, *started]:
            if running.running:
                running.stop()
        started.append(release.operator(tmp_path_factory.mktemp("another") / "operator.log", **settings))
        started[-1].start()
        return started[-1]

    yield start
    for running in started:
        if running.running:
            running.stop()
    operator.start()


def test_an_operator_with_another_default_restarts_nothing(
    world: World, another_operator: Callable[..., OperatorProcess]
) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    servers, before = pods(world), template(world)
    another_operator(engine_image="vllm/vllm-openai:v0.32.0")

    def image() -> dict[str, str]:
        plan = world.must("Qwen3Deployment", "chat")["status"]["plan"]
        entry: dict[str, str] = next(entry for entry in plan if entry["field"] == "image")
        return entry

    world.wait(lambda: image().get("next") == "vllm/vllm-openai:v0.32.0", "the plan says what would be chosen now")
    assert image()["value"] == "vllm/vllm-openai:v0.33.0"
    assert pods(world) == servers and template(world) == before
    world.set_spec("chat", replicas=2)
    world.wait(lambda: len(pods(world)) == 2, "a second server")
    assert servers < pods(world) and template(world) == before, "a scale is no reason to restart either"

    world.patch("Qwen3Deployment", "chat", {"spec": {"engine": {"resolve": "2026-11-27"}}})
    world.wait(lambda: world.container("chat")["image"] == "vllm/vllm-openai:v0.32.0", "resolved anew when asked")
    world.wait(lambda: "next" not in image() and image()["value"].endswith("v0.32.0"), "the plan is that of now")

"""What servers measured, on a real API server: the ConfigMap, its owner, and the status that is read from it.

Simulated servers write no log: what a server would have said is in the ConfigMap here, as the operator writes it.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

from qwen3_in_engine.capacity.contract import Result, Step
from qwen3_operator.desired.capacity import benchmark_in, capacity_config_map

KIND, CALLED = "ConfigMap", "chat-capacity"


def measured(key: str, tokens: int = 440) -> Result:
    return Result(
        key=key,
        gpu="NVIDIA L4",
        at="2026-11-28T06:00:00Z",
        input_tokens=1024,
        output_tokens=256,
        target_milliseconds=2000,
        seconds=120,
        ended_by="target",
        steps=(Step(4, 230, 260), Step(8, tokens, 900), Step(16, 700, 2600)),
    )


def template(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.must("Deployment", "chat")["spec"]["template"]
    return found


def key_of(world: World) -> str:
    reported = benchmark_in(template(world))
    assert reported is not None
    return reported.key


def keep(world: World, *results: Result) -> None:
    """Have the results where the operator keeps them."""
    uid = world.must("Qwen3Deployment", "chat")["metadata"]["uid"]
    made = capacity_config_map(world.namespace, "chat", uid, results)
    world.apply({"apiVersion": "v1", "kind": KIND} | made)


def capacity(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.must("Qwen3Deployment", "chat")["status"].get("capacity") or {}
    return found


def test_the_status_is_what_the_config_map_says_and_goes_with_its_owner(world: World) -> None:
    world.apply(Q3d().set(benchmark={}))
    world.wait_ready("chat")
    pod = world.must("Deployment", "chat")["spec"]["template"]["spec"]
    assert {"name": "capacity", "configMap": {"name": CALLED, "optional": True, "defaultMode": 420}} in pod["volumes"]
    probe = pod["containers"][0]["startupProbe"]
    longest_start = probe["periodSeconds"] * probe["failureThreshold"]
    assert world.must("Deployment", "chat")["spec"]["progressDeadlineSeconds"] == longest_start + 180 + 600
    assert world.get(KIND, CALLED) is None and not capacity(world)
    keep(world, measured("0a1b", 600), measured(key_of(world)))
    world.wait(lambda: capacity(world).get("concurrencyAtTarget") == 8, "it is shown", within=60)
    assert capacity(world)["tokensPerSecond"] == 440 and capacity(world)["gpu"] == "NVIDIA L4"
    reported = world.condition("chat", "Accepted")
    assert reported["reason"] == "AcceptedWithWarnings" and "27 % slower than those before" in reported["message"]
    assert world.is_ready("chat"), "it is a warning"
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone(KIND, CALLED)


def test_the_number_of_servers_waits_for_it(world: World) -> None:
    world.apply(Q3d().set(benchmark={}, autoscaling={"minReplicas": 2, "maxReplicas": 4, "target": {"auto": True}}))
    world.wait_ready("chat")
    reported = world.wait_condition("chat", "Accepted", "True", reason="AcceptedWithWarnings", within=30)
    assert "autoscaling.target.auto waits until a server was measured" in reported["message"]
    assert world.must("Deployment", "chat")["spec"]["replicas"] == 2


def test_turning_it_on_makes_new_servers_and_nothing_else_does(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    before = template(world)
    assert "capacity" not in str(before) and "BENCHMARK" not in str(before)
    world.set_spec("chat", benchmark={"maxSeconds": 60})
    world.wait(
        lambda: "QWEN3_BENCHMARK" in str(world.must("Deployment", "chat")["spec"]["template"]), "it is asked for"
    )
    world.set_spec("chat", benchmark=None)
    world.wait(lambda: template(world) == before, "as before")

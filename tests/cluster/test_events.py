"""Kubernetes Events: what a person wants to know, once."""

from __future__ import annotations

from tests.cluster.downloads import failed, stage
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d


def test_each_step_is_one_event(world: World, operator: OperatorProcess) -> None:
    """Also across a restart of the operator."""
    world.apply(Q3d())
    world.wait_ready("chat")
    model = shared_name(Q3d())

    def reported() -> dict[str, list[str]]:
        return {name: sorted(e["reason"] for e in world.events(name)) for name in ("chat", model)}

    wanted = {"chat": {"Serving"}, model: {"Ready", "Verified"}}

    def of_ours() -> list[str]:
        ours = [
            e for name in wanted for e in world.events(name) if e.get("reportingController", "").startswith("serving")
        ]
        return sorted(f"{e['regarding']['kind']} {e['type']} {e['reason']}" for e in ours)

    expected = ["Qwen3Deployment Normal Serving", "Qwen3Model Normal Ready", "Qwen3Model Normal Verified"]
    world.wait(lambda: of_ours() == expected, "one Event for each step")
    operator.stop()
    operator.start()
    world.set_spec("chat", service={"annotations": {"a": "b"}})
    world.wait(lambda: "a" in world.must("Service", "chat")["metadata"].get("annotations", {}))
    assert of_ours() == expected
    assert reported()["chat"].count("Serving") == 1


def test_what_repeats_is_counted(world: World) -> None:
    """A server that comes and goes: one Event a sentence, with a count."""
    world.apply(Q3d())
    world.wait_ready("chat")
    (pod,) = world.list("Pod", labelSelector="app.kubernetes.io/component=server")
    name = pod["metadata"]["name"]
    for _ in range(2):
        world.patch("Pod", name, {"metadata": {"annotations": {"devcluster.qwen3.dev/ready": "false"}}})
        world.wait_condition("chat", "Ready", "False")
        world.patch("Pod", name, {"metadata": {"annotations": {"devcluster.qwen3.dev/ready": None}}})
        world.wait_ready("chat")

    def serving() -> bool:
        (event,) = (e for e in world.events("chat") if e["reason"] == "Serving")
        return bool(event.get("series", {}).get("count") == 3)

    world.wait(serving, "one Event, seen three times")


def test_trouble_is_a_warning(world: World) -> None:
    world.api.apply(stage(world.namespace, failed("ModelNotFound", "the hub knows no Qwen/Qwen3-0.6B", 10)))
    world.apply(Q3d())
    world.wait_condition("chat", "Stalled", "True")

    def warned() -> bool:
        found = [e for e in world.events("chat") if e["type"] == "Warning"]
        return [e["reason"] for e in found] == ["ModelNotFound"] and "the hub knows no" in found[0]["note"]

    world.wait(warned, "one warning")

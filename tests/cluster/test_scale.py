"""Replicas: by kubectl scale, as the HorizontalPodAutoscaler does it, and none while suspended."""

from __future__ import annotations

import devcluster
import pytest
from tests.cluster.api import KINDS
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d


@pytest.fixture
def chat(world: World) -> World:
    world.apply(Q3d())
    world.wait_ready("chat")
    return world


def test_kubectl_scale(chat: World, cluster: devcluster.Cluster) -> None:
    printed = cluster.kubectl("-n", chat.namespace, "scale", "q3d/chat", "--replicas=3")
    assert "scaled" in printed
    chat.wait(lambda: chat.must("Deployment", "chat")["status"].get("readyReplicas") == 3, "three servers")
    ready = chat.wait_ready("chat")
    assert (ready["status"]["replicas"], ready["status"]["readyReplicas"]) == (3, 3)


def test_the_scale_sub_resource_as_an_autoscaler_uses_it(chat: World) -> None:
    """GET returns spec, status and the selector of the pods whose metrics count; PUT scales."""
    path = KINDS["Qwen3Deployment"].path(chat.namespace, "chat", "scale")
    scale = chat.api.request("GET", path)
    assert scale["kind"] == "Scale"
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert len(chat.list("Pod", labelSelector=scale["status"]["selector"])) == 1
    scale["spec"]["replicas"] = 2
    chat.api.request("PUT", path, scale)
    chat.wait(lambda: chat.api.request("GET", path)["status"]["replicas"] == 2, "the status follows")
    chat.wait_ready("chat")
    assert len(chat.list("Pod", labelSelector=scale["status"]["selector"])) == 2


def test_scaling_changes_no_pod_template(chat: World) -> None:
    (pod,) = chat.list("Pod", labelSelector="app.kubernetes.io/component=server")
    chat.set_spec("chat", replicas=2)
    chat.wait(lambda: len(chat.list("Pod", labelSelector="app.kubernetes.io/component=server")) == 2)
    chat.wait_ready("chat")
    uids = {p["metadata"]["uid"] for p in chat.list("Pod", labelSelector="app.kubernetes.io/component=server")}
    assert pod["metadata"]["uid"] in uids, "the first server was not restarted"


@pytest.mark.parametrize(
    ("stop", "ready", "reason"), [({"suspend": True}, "False", "Suspended"), ({"replicas": 0}, "True", "ScaledToZero")]
)
def test_suspend_and_resume(chat: World, stop: dict[str, object], ready: str, reason: str) -> None:
    """No server, but weights and Service stay; nothing is stalled, or goes on."""
    model = shared_name(Q3d())
    uid = chat.must("PersistentVolumeClaim", model)["metadata"]["uid"]
    chat.set_spec("chat", **stop)
    condition = chat.wait_condition("chat", "Ready", ready, reason=reason)
    assert next(iter(stop)) in condition["message"]
    chat.wait(lambda: not chat.list("Pod", labelSelector="app.kubernetes.io/component=server"), "no server")
    chat.wait(lambda: chat.must("Qwen3Deployment", "chat")["status"]["replicas"] == 0, "the status says so")
    conditions = chat.conditions("Qwen3Deployment", "chat")
    assert (conditions["Stalled"]["status"], conditions["Reconciling"]["status"]) == ("False", "False")
    assert conditions["ModelReady"]["status"] == "True"
    chat.must("Service", "chat")
    assert chat.must("PersistentVolumeClaim", model)["metadata"]["uid"] == uid

    jobs = [j["metadata"]["uid"] for j in chat.list("Job")]
    chat.set_spec("chat", suspend=False, replicas=1)
    chat.wait_ready("chat")
    assert [j["metadata"]["uid"] for j in chat.list("Job")] == jobs, "nothing is downloaded again"


def test_suspended_from_the_beginning(world: World) -> None:
    """The weights come, a server does not."""
    world.apply(Q3d().set(suspend=True))
    world.wait_condition("chat", "ModelReady", "True", within=30)
    world.wait_condition("chat", "Ready", "False", reason="Suspended")
    stays(lambda: not world.list("Pod", labelSelector="app.kubernetes.io/component=server"), seconds=1)
    world.set_spec("chat", suspend=False)
    world.wait_ready("chat")

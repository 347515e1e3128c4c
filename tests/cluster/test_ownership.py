"""What has the name of a child and is not ours is left as it is, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m

Object = dict[str, Any]


def service(world: World) -> Object:
    """A Service that Helm put there."""
    annotations = {"meta.helm.sh/release-name": "payments"}
    spec = {"selector": {"app": "payments"}, "ports": [{"name": "http", "port": 80}]}
    meta = {"name": "chat", "annotations": annotations}
    return world.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})


def compile_cache(world: World) -> Object:
    """A claim that has the name of the compile cache."""
    return claim(world, "chat-compile-cache")


def claim(world: World, name: str) -> Object:
    """A claim with somebody's database."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return world.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})


def deployment(world: World) -> Object:
    """Servers of somebody else, who even uses our labels."""
    labels = {"app.kubernetes.io/managed-by": "qwen3-operator", "serving.qwen3.dev/deployment": "chat"}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    meta = {"name": "chat", "labels": labels}
    return world.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})


def as_it_was(world: World, before: Object) -> None:
    """Nothing that anybody decides has changed: spec, labels, owners."""
    now = world.must(before["kind"], before["metadata"]["name"])
    assert now["spec"] == before["spec"]
    for key in ("uid", "labels", "ownerReferences", "deletionTimestamp"):
        assert now["metadata"].get(key) == before["metadata"].get(key), key
    assert not any("qwen3" in key for key in now["metadata"].get("annotations") or {})


@pytest.mark.parametrize("theirs", [service, deployment, compile_cache])
def test_what_others_made_under_the_name_of_a_server_stays(world: World, theirs: Callable[[World], Object]) -> None:
    before = theirs(world)
    kind, name = before["kind"], before["metadata"]["name"]
    world.apply(Q3d().engine(compileCache={"enabled": True}))
    words = world.wait_condition("chat", "Accepted", "False", reason="NameTaken")["message"]
    assert f"{kind} {name} is there already and not ours" in words
    stays(lambda: world.condition("chat", "Ready").get("reason") == "NameTaken", seconds=2)
    assert world.condition("chat", "Stalled")["status"] == "True", "a person has to choose another name"
    as_it_was(world, before)
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("Qwen3Deployment", "chat")
    stays(lambda: world.get(kind, name) is not None, seconds=2)
    as_it_was(world, before)


def test_the_owner_is_named(world: World) -> None:
    service(world)
    world.apply(Q3d())
    assert "Helm release payments" in world.wait_condition("chat", "Accepted", "False", reason="NameTaken")["message"]


def test_a_name_that_comes_free_is_taken(world: World) -> None:
    service(world)
    world.apply(Q3d())
    world.wait_condition("chat", "Accepted", "False", reason="NameTaken")
    world.delete("Service", "chat")
    world.wait_ready("chat")


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_claim_of_others_is_neither_written_nor_deleted(world: World, policy: str) -> None:
    before = claim(world, "data")
    world.apply(Q3m("data").set(id="Qwen/Qwen3-0.6B", storage={"retentionPolicy": policy}))
    found = world.wait_condition("data", "Downloaded", "False", kind="Qwen3Model", reason="NameTaken")
    assert "PersistentVolumeClaim data" in found["message"]
    assert not world.list("Job"), "nothing mounts it"
    world.delete("Qwen3Model", "data")
    world.wait_gone("Qwen3Model", "data")
    stays(lambda: world.get("PersistentVolumeClaim", "data") is not None, seconds=2)
    as_it_was(world, before)


def test_a_claim_that_was_retained_is_taken_again(world: World) -> None:
    """Our labels for just this model are the proof: the weights are there already."""
    cr = Q3d()
    world.apply(cr)
    world.wait_ready("chat")
    uid = world.must("PersistentVolumeClaim", shared_name(cr))["metadata"]["uid"]
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("Qwen3Model", shared_name(cr))
    world.apply(cr)
    world.wait_ready("chat")
    assert world.must("PersistentVolumeClaim", shared_name(cr))["metadata"]["uid"] == uid


def test_what_lost_its_owner_is_nobodys_proof(world: World) -> None:
    """By a hand, or by a restore: the name alone proves nothing. Servers go on, and the condition says what to do."""
    world.apply(Q3d())
    world.wait_ready("chat")
    world.patch("Deployment", "chat", [{"op": "remove", "path": "/metadata/ownerReferences"}])
    found = world.wait_condition("chat", "Accepted", "False", reason="NameTaken")
    assert "delete or rename it" in found["message"]
    assert world.must("Deployment", "chat")["status"]["readyReplicas"] == 1
    world.delete("Deployment", "chat")
    world.wait_ready("chat", within=60)


def test_children_of_one_of_the_same_name_are_waited_for(world: World) -> None:
    """Deleted and made anew at once: what is left of the first goes, and then the name is free."""
    world.apply(Q3d())
    first = world.wait_ready("chat")["metadata"]["uid"]
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("Qwen3Deployment", "chat")
    world.apply(Q3d())
    world.wait_ready("chat", within=60)
    owners = world.must("Deployment", "chat")["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] != [first] and len(owners) == 1

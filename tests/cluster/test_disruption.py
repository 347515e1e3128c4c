"""Two servers and more lose one at a time when nodes are drained."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.api import Refused
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

KIND = "PodDisruptionBudget"


def evict(world: World, pod: dict[str, Any]) -> None:
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": world.namespace}}
    world.api.request("POST", f"/api/v1/namespaces/{world.namespace}/pods/{name}/eviction", eviction)


def servers(world: World) -> list[dict[str, Any]]:
    selector = world.must("Qwen3Deployment", "chat")["status"]["selector"]
    return [p for p in world.list("Pod", labelSelector=selector) if not p["metadata"].get("deletionTimestamp")]


def test_one_of_two_is_evicted_and_the_other_stays(world: World) -> None:
    world.apply(Q3d().set(replicas=2))
    world.wait_ready("chat")
    world.wait(lambda: world.must(KIND, "chat")["status"].get("disruptionsAllowed") == 1, "the budget is in force")
    # The next one never gets ready.
    world.api.apply(_never_ready(world), manager="test")
    first, second = servers(world)
    evict(world, first)
    world.wait(lambda: world.must(KIND, "chat")["status"]["disruptionsAllowed"] == 0, "one is missing")
    with pytest.raises(Refused, match="disruption budget"):
        evict(world, second)


def _never_ready(world: World) -> dict[str, Any]:
    """Later pods of this namespace are not scheduled: a quota of none more."""
    meta = {"name": "full", "namespace": world.namespace}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "0"}}}


def test_it_follows_the_spec(world: World) -> None:
    world.apply(Q3d().set(replicas=2))
    world.wait(lambda: world.get(KIND, "chat") is not None, "two servers have a budget")
    budget = world.must(KIND, "chat")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    world.patch(KIND, "chat", {"spec": {"maxUnavailable": 0}})
    world.wait(lambda: world.must(KIND, "chat")["spec"]["maxUnavailable"] == 1, "an edit is undone")
    world.apply(Q3d().set(replicas=1))
    world.wait(lambda: world.get(KIND, "chat") is None, "one server has none")
    world.apply(Q3d().set(replicas=3))
    world.wait(lambda: world.get(KIND, "chat") is not None, "three have one")
    world.apply(Q3d().set(replicas=3, disruptionBudget="Off"))
    world.wait(lambda: world.get(KIND, "chat") is None, "it is turned off")
    world.wait_ready("chat")


def _theirs(world: World, name: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": world.namespace}
    selector = {"matchLabels": {"serving.qwen3.dev/deployment": "chat"}}
    return {
        "apiVersion": "policy/v1",
        "kind": KIND,
        "metadata": meta,
        "spec": {"minAvailable": 1, "selector": selector},
    }


def test_none_is_made_where_another_selects_the_servers(world: World) -> None:
    """The API server evicts no pod that two budgets cover."""
    world.api.apply(_theirs(world, "theirs"), manager="somebody")
    world.apply(Q3d().set(replicas=2))
    world.wait_ready("chat")
    stays(lambda: world.get(KIND, "chat") is None, seconds=1)
    evict(world, servers(world)[0])


def test_somebody_elses_of_that_name_is_left_alone(world: World) -> None:
    theirs = world.api.apply(_theirs(world, "chat") | {"spec": {"minAvailable": 1}}, manager="somebody")
    world.apply(Q3d().set(replicas=2))
    world.wait_ready("chat")
    accepted = world.condition("chat", "Accepted")
    assert accepted["reason"] == "AcceptedWithWarnings"
    assert "PodDisruptionBudget chat is there already and not ours" in accepted["message"]
    assert world.must(KIND, "chat")["spec"] == theirs["spec"]


def test_it_goes_with_its_owner(world: World) -> None:
    world.apply(Q3d().set(replicas=2))
    world.wait(lambda: world.get(KIND, "chat") is not None)
    world.delete("Qwen3Deployment", "chat")
    world.wait(lambda: world.get(KIND, "chat") is None, "collected")

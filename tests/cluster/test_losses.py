"""Servers that are lost with their node, to the kubelet, or to a pod of higher priority: where the deployment ends, and
what its status says meanwhile. Scheduler, taints, preemption and eviction are the control plane's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api import Api
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.pool import GIVEN_UP_SECONDS, Pool, timestamp
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d, Q3m

from qwen3_operator.reconcile.pods import REPLACED_WITHIN

Object = dict[str, Any]

GONE_SECONDS = 50.0 + GIVEN_UP_SECONDS
"""The node life-cycle controller checks all nodes every 25 s here; elsewhere every 5 s."""


@pytest.fixture
def pool(world: World) -> Iterator[Pool]:
    """An empty pool, and the weights of its servers in place."""
    world.apply(Q3m())
    world.wait_ready("weights", "Qwen3Model")
    it = Pool(world)
    yield it
    it.close()


def chat(pool: Pool, **simulated: str) -> Q3d:
    it = Q3d().set(modelRef={"name": "weights"}).scheduling(**pool.scheduling).pod(**simulated)
    del it.spec["model"]
    return it


def servers(world: World) -> list[Object]:
    """Pods of the servers, all that are there."""
    return world.list("Pod", labelSelector=world.must("Qwen3Deployment", "chat")["status"]["selector"])


def ready_servers(world: World) -> list[str]:
    found = [(it["metadata"]["name"], c) for it in servers(world) for c in it["status"].get("conditions") or ()]
    return [name for name, c in found if (c["type"], c["status"]) == ("Ready", "True")]


def names(world: World) -> set[str]:
    return {it["metadata"]["name"] for it in servers(world)}


def generation(world: World) -> int:
    """Of the servers' Deployment: whoever changes it restarts them."""
    found: int = world.must("Deployment", "chat")["metadata"]["generation"]
    return found


def scheduled(world: World) -> str:
    found: str = world.condition("chat", "Scheduled").get("reason", "")
    return found


def _as_its_kubelet_says(api: Api, pod: Object) -> None:
    """The server runs: nobody plays the kubelet of a node without one."""
    meta, now = pod["metadata"], timestamp()
    container = {"name": "vllm", "image": "i", "imageID": "", "ready": True, "started": True, "restartCount": 0}
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
    status = {
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": [container | {"state": {"running": {"startedAt": now}}}],
    }
    api.patch("Pod", meta["namespace"], meta["name"], {"status": status}, subresource="status", strategic=True)


@pytest.fixture
def urgent(api: Api, world: World) -> Iterator[str]:
    """A PriorityClass above that of the servers."""
    name = f"urgent-{world.namespace}"
    made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    api.create(made)
    yield name
    api.delete("PriorityClass", None, name)


def test_a_server_that_made_way_says_so_and_comes_back(
    world: World, pool: Pool, urgent: str, operator: OperatorProcess
) -> None:
    pool.add("only", gpus=1)
    world.apply(chat(pool, delete_delay="4s"))
    world.wait_ready("chat")
    (first,), before = names(world), generation(world)

    pool.take_gpu("urgent", priorityClassName=urgent)
    reported = world.wait_condition("chat", "Scheduled", "False", reason="Preempted")
    assert "a server had to make way for a pod of higher priority" in reported["message"]
    world.wait_condition("chat", "Ready", "False", reason="Preempted")
    world.wait_condition("chat", "Stalled", "False")
    world.wait(lambda: first not in names(world), "its pod is gone")
    stays(lambda: scheduled(world) == "Preempted", seconds=3, what="the new one waits, and why is remembered")
    operator.stop()
    operator.start()
    stays(lambda: scheduled(world) == "Preempted", seconds=5, what="by a new operator too")
    assert len(names(world)) == 1

    world.delete("Pod", "urgent")
    world.wait_ready("chat")
    assert scheduled(world) == "Scheduled"
    assert generation(world) == before


@pytest.mark.long
def test_a_server_that_its_node_evicts_is_replaced_and_forgotten(world: World, pool: Pool) -> None:
    pool.add("sound", gpus=8)
    world.apply(chat(pool, start_delay="8s"))
    world.wait_ready("chat")
    (first,), before = names(world), generation(world)
    why = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "lastTransitionTime": timestamp(),
    }
    gone = {"type": "Ready", "status": "False", "reason": "PodFailed", "lastTransitionTime": timestamp()}
    words = "The node was low on resource: memory."
    status = {"phase": "Failed", "reason": "Evicted", "message": words, "conditions": [why, gone]}
    world.patch("Pod", first, {"status": status}, subresource="status", strategic=True)

    reported = world.wait_condition("chat", "Available", "False", reason="Evicted")
    assert words in reported["message"] and first in reported["message"]
    world.wait_ready("chat")
    assert len(names(world)) == 2 and len(ready_servers(world)) == 1, "the API server keeps the evicted pod"
    assert generation(world) == before

    # It says nothing of a start of later.
    time.sleep(REPLACED_WITHIN.total_seconds() + 1)
    (second,) = ready_servers(world)
    world.delete("Pod", second)
    starting = world.wait_condition("chat", "Available", "False", reason="Starting")
    assert "0 of 1 servers are ready" in starting["message"]
    stays(lambda: world.condition("chat", "Available")["reason"] != "Evicted", seconds=3)
    world.wait_ready("chat")


def _nothing_is_heard_of(api: Api, node: str, pod: Object) -> None:
    """What the node life-cycle controller writes once a kubelet is silent, which takes it 200 s here: the taints that
    follow, and the end of the pod, are its own doing."""
    now, meta = timestamp(), pod["metadata"]
    silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "lastTransitionTime": now}
    api.patch("Node", None, node, {"status": {"conditions": [silent]}}, subresource="status", strategic=True)
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}]}}
    api.patch("Pod", meta["namespace"], meta["name"], unready, subresource="status", strategic=True)


@pytest.mark.long
def test_a_server_of_a_lost_node_comes_back_elsewhere_and_once(world: World, pool: Pool) -> None:
    lost = pool.add("lost", gpus=8, kubelet=False)
    world.apply(chat(pool))
    world.wait(lambda: servers(world)[0]["spec"].get("nodeName") == lost, "the server has its node", within=30)
    (first,) = servers(world)
    _as_its_kubelet_says(world.api, first)
    world.wait_ready("chat")
    pool.take_gpu("other", nodeName=pool.add("small", gpus=1))
    before = generation(world)

    _nothing_is_heard_of(world.api, lost, first)
    reported = world.wait_condition("chat", "Available", "False", reason="NodeLost")
    assert f"nothing is heard of its node {lost}" in reported["message"]
    world.wait_condition("chat", "Scheduled", "False", reason="InsufficientGpu", within=GONE_SECONDS)
    assert world.must("Pod", first["metadata"]["name"])["metadata"]["deletionTimestamp"], "it ends for ever"
    # Its GPUs are no other server's, whatever the API server still shows of it.
    stays(lambda: scheduled(world) == "InsufficientGpu", seconds=3)

    world.delete("Pod", "other")
    world.wait_ready("chat")
    assert scheduled(world) == "Scheduled"
    assert len(ready_servers(world)) == 1
    assert first["metadata"]["name"] in names(world), "nobody ended it"
    now = names(world)
    assert len(now) == 2
    stays(lambda: names(world) == now and world.is_ready("chat"), seconds=3, what="it was replaced once")
    assert generation(world) == before, "nobody changed the servers"

"""Which pods are servers: a pod says of which ReplicaSet it is, and that is asked of which Deployment."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, replica_set
from tests.unit.reconcile.test_capacity import POD, Measuring

from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Key

Object = dict[str, Any]
LIST = "list ReplicaSet"


@pytest.fixture
async def world() -> Measuring:
    """Its one server is ready, and has yet to say what it measured."""
    it = Measuring()
    await it.made()
    it.server_is_ready()
    return it


def server(world: Measuring) -> Object:
    return world.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]


def forge(world: Measuring, **owner: Any) -> None:
    """In the place of the server, a pod like it that names this controller, and says what it likes."""
    pod = copy.deepcopy(world.cluster.objects.pop((PODS.kind, NAMESPACE, POD)))
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"{SERVED}-1", "controller": True} | owner]
    world.cluster.put(PODS, pod)
    world.cluster.pod_logs[POD] = world.line()


async def reconcile(world: Measuring) -> int:
    """Reconcile; how often ReplicaSets were read."""
    world.cluster.reads.clear()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    return world.cluster.reads[LIST]


@pytest.mark.parametrize("theirs", ["no", "no such", "another's", "nobody's"])
async def test_what_a_forged_pod_says_is_not_heard(world: Measuring, theirs: str) -> None:
    """Else it would be the capacity by which an autoscaler goes."""
    if theirs == "no":
        forge(world, kind="StatefulSet", uid="r")
    elif theirs == "no such":
        forge(world, uid="forged")
    else:
        owner = {"name": f"{SERVED}-2", "uid": "theirs"}
        it = replica_set(owner, {"metadata": {"namespace": NAMESPACE, "name": "theirs", "uid": "of another"}})
        if theirs == "nobody's":
            it["metadata"]["ownerReferences"] = []
        world.cluster.put(REPLICA_SETS, it)
        forge(world, **owner)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert "own" not in str(world.reported.get("capacity")) and world.config_map is None
    assert POD not in str(world.reported)
    assert await reconcile(world) == (theirs == "nobody's"), "it is known to be none"


async def test_a_replica_set_is_read_once(world: Measuring) -> None:
    assert await reconcile(world) == 1
    second = copy.deepcopy(world.cluster.objects[PODS.kind, NAMESPACE, POD])
    second["metadata"] |= {"name": f"{SERVED}-1-b", "uid": "second"}
    world.cluster.put(PODS, second)
    assert await reconcile(world) == 0
    world.operator._context.replica_sets.forget(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    assert await reconcile(world) == 1, "a new process"


async def test_one_that_was_orphaned_is_asked_until_a_deployment_adopts_it(world: Measuring) -> None:
    owned = world.cluster.objects[REPLICA_SETS.kind, NAMESPACE, f"{SERVED}-1"]
    owners = owned["metadata"].pop("ownerReferences")
    world.cluster.pod_logs[POD] = world.line()
    assert await reconcile(world) == 1 and world.config_map is None
    owned["metadata"]["ownerReferences"] = owners
    assert await reconcile(world) == 1 and world.config_map is not None
    assert await reconcile(world) == 0


async def test_servers_of_a_deployment_that_was_deleted_are_servers_to_their_end(world: Measuring) -> None:
    """Their GPUs come free with them; the next Deployment is not one of them."""
    await reconcile(world)
    key, sets = Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED), world.operator._context.replica_sets
    cluster: Any = world.cluster
    pods = [world.cluster.objects[PODS.kind, NAMESPACE, POD]]
    for now in (None, {"metadata": {"uid": "the next"}}):
        world.cluster.reads.clear()
        await sets.learn(cluster, key, now, pods)
        assert sets.pods_of(key, pods) == pods and not world.cluster.reads
    await sets.learn(cluster, key, None, [])
    assert sets.pods_of(key, pods) == [], "what has no pods is forgotten"

"""What befell the servers of a spec before says nothing of those of the present one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from qwen3_operator.desired.made_from import ANNOTATION
from qwen3_operator.naming import DEPLOYMENT_LABEL, QWEN3_DEPLOYMENTS, server_labels
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.deployment import reconcile_deployment

REFUSED = 'pods "chat-1-" is forbidden: violates PodSecurity "restricted:latest": host namespaces'

USED_UP = 'pods "chat-1-" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'


class World(Served):
    """With the ReplicaSets that a Deployment's controller makes."""

    def replica_set(self, revision: int, failure: str = "") -> None:
        """That of the Deployment's present template."""
        server = self.server
        name = f"{SERVED}-{revision}"
        owner = {"kind": "Deployment", "name": SERVED, "uid": server["metadata"]["uid"], "controller": True}
        record = server["metadata"]["annotations"][ANNOTATION]
        meta = {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{revision}",
            "labels": {DEPLOYMENT_LABEL: SERVED, "pod-template-hash": str(revision)},
            "annotations": {ANNOTATION: record, "deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [owner],
        }
        self.cluster.put(REPLICA_SETS, {"metadata": meta, "status": {"conditions": _failure(failure)}})

    async def observed(self, failure: str = "", *, replicas: int = 1, updated: int = 0) -> dict[str, Any]:
        """The conditions once the Deployment's controller has seen what it is to be; `failure`: of any ReplicaSet."""
        made = self.changed(DEPLOYMENTS, SERVED)
        made["status"] = {
            "observedGeneration": made["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": updated,
            "conditions": _failure(failure),
        }
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED)
        return self.conditions()

    def conditions(self) -> dict[str, Any]:
        """Reasons, and the status of Stalled."""
        found = self.status(QWEN3_DEPLOYMENTS, SERVED)
        return {"Available": found["Available"][1], "Stalled": found["Stalled"][0]}

    def pod_without_image(self, revision: int) -> None:
        """A server that needs a person."""
        waiting = {"reason": "InvalidImageName", "message": "couldn't parse"}
        status = {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "vllm", "state": {"waiting": waiting}}],
        }
        owner = {"kind": "ReplicaSet", "name": f"{SERVED}-{revision}", "uid": f"uid-{revision}"}
        labels = server_labels(SERVED) | {"pod-template-hash": str(revision)}
        self._pod(f"{SERVED}-{revision}-a", labels, owner, {"name": "vllm"}, status)


def _failure(words: str) -> list[dict[str, Any]]:
    return [{"type": "ReplicaFailure", "status": "True", "message": words}] if words else []


STARTING = {"Available": "Starting", "Stalled": "False"}
FORBIDDEN = {"Available": "PodSecurityViolation", "Stalled": "True"}
NO_IMAGE = {"Available": "InvalidImageName", "Stalled": "True"}


async def test_a_spec_that_mends_what_was_refused_is_not_stalled() -> None:
    """Else Flux takes the edit that mends it for one that failed."""
    world = World()
    await world.served()
    world.replica_set(1, REFUSED)
    assert await world.observed(REFUSED, replicas=0) == FORBIDDEN
    await world.change(engine={"maxModelLen": 2048})
    assert world.conditions() == STARTING, "its controller has not seen it yet"
    assert await world.observed(REFUSED, replicas=0) == STARTING, "nor made its ReplicaSet"
    world.replica_set(2)
    assert await world.observed(REFUSED, replicas=0) == STARTING, "the one before is still there"
    world.replica_set(2, REFUSED)
    assert await world.observed(REFUSED, replicas=0) == FORBIDDEN, "it is no better"


async def test_a_spec_that_mends_what_could_not_start_is_not_stalled() -> None:
    world = World()
    await world.served()
    world.replica_set(1)
    world.pod_without_image(1)
    assert await world.observed(updated=1) == NO_IMAGE
    await world.change(engine={"maxModelLen": 2048})
    assert world.conditions() == STARTING
    world.replica_set(2)
    assert await world.observed() == STARTING
    world.pod_without_image(2)
    assert (await world.observed(replicas=2, updated=1))["Stalled"] == "True", "it is no better, and was gone back from"
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][1] == "RolledBack"


async def test_replica_sets_are_read_only_where_servers_of_two_specs_are_there() -> None:
    world = World()
    await world.served()
    world.replica_set(1)
    world.cluster.reads.clear()
    await world.observed(updated=1)
    assert REPLICA_SETS.kind not in world.cluster.reads


async def test_what_a_replica_set_says_next_is_asked_for() -> None:
    """Nobody watches it, and its Deployment repeats what the one before said."""
    world = World()
    await world.served()
    world.replica_set(1, REFUSED)
    await world.observed(REFUSED, replicas=0)
    await world.change(engine={"maxModelLen": 2048})
    world.replica_set(2)  # its first pod is asked for, and a webhook is slow
    assert await world.observed(REFUSED, replicas=0) == STARTING
    key = Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED)
    assert await reconcile_deployment(world.operator._context, key) is not None


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_quota_that_a_server_which_ends_still_uses_calls_nobody(replaced: bool) -> None:
    """It drains: of a node that is drained, or because the only one went first."""
    world = World()
    await world.served()
    world.replica_set(1)
    world.pod_without_image(1)
    if replaced:
        await world.change(engine={"maxModelLen": 2048})
    world.replica_set(2 if replaced else 1, USED_UP)
    world.changed(PODS, f"{SERVED}-1-a")["metadata"]["deletionTimestamp"] = "2999-01-01T00:00:00Z"
    assert await world.observed(USED_UP, replicas=0) == {"Available": "QuotaUsedUp", "Stalled": "False"}
    world.replica_set(2 if replaced else 1, USED_UP.replace("limited: pods=1", "limited: pods=0"))
    found = await world.observed(USED_UP.replace("limited: pods=1", "limited: pods=0"), replicas=0)
    assert found == {"Available": "QuotaExceeded", "Stalled": "True"}

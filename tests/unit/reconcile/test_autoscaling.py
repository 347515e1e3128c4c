"""Whose the number of servers is, from the first server to the end of the autoscaling."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, downloaded
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import DEPLOYMENTS, SCALED_OBJECTS
from qwen3_operator.desired.front import waiting_trigger
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS

PROMETHEUS = "http://prometheus:9090"
AUTOSCALING: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 4, "target": {"concurrency": 8}}


class Scaled(Served):
    """One Qwen3Deployment, its autoscaler, and KEDA's hand."""

    async def served(self, **spec: Any) -> None:
        await super().served(**({"autoscaling": AUTOSCALING} | spec))

    async def scale(self, replicas: int) -> None:
        """As the autoscaler does, by another field manager."""
        meta = {"namespace": NAMESPACE, "name": SERVED}
        await self.cluster.apply(DEPLOYMENTS, {"metadata": meta, "spec": {"replicas": replicas}}, manager="keda")
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    @property
    def replicas(self) -> int:
        """Of the Deployment; an absent one is the API server's default."""
        live = self.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]
        return int(live["spec"].get("replicas", 1))

    @property
    def scaler(self) -> dict[str, Any] | None:
        return self.cluster.objects.get((SCALED_OBJECTS.kind, NAMESPACE, SERVED))

    def says(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        found: tuple[str, str, str] = self.status(QWEN3_DEPLOYMENTS, SERVED)[kind]
        return found


@pytest.fixture
def world() -> Scaled:
    return Scaled(prometheus_address=PROMETHEUS)


async def test_the_autoscaler_comes_with_the_first_server_and_owns_their_number(world: Scaled) -> None:
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(autoscaling=AUTOSCALING | {"minReplicas": 2}))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await downloaded(world, world.model_of(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.replicas == 2 and world.scaler is None, "nothing to scale before the first servers are up"
    await world.ready()
    assert world.replicas == 2 and world.scaler is not None
    assert world.scaler["spec"]["scaleTargetRef"]["name"] == SERVED
    await world.scale(3)
    assert world.replicas == 3
    await world.ready()
    writes = len(world.cluster.writes)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.replicas == 3 and len(world.cluster.writes) == writes, "at rest nothing is written"
    status = world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]
    assert status["autoscaling"] == {"desiredReplicas": 3}


async def test_a_new_template_leaves_their_number_alone(world: Scaled) -> None:
    await world.served()
    await world.scale(3)
    await world.ready()
    await world.change(engine={"maxModelLen": 2048})
    live = world.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]
    assert "2048" in str(live["spec"]["template"]) and world.replicas == 3


async def test_turning_it_on_keeps_the_servers_that_there_are(world: Scaled) -> None:
    await world.served(autoscaling=None, replicas=3)
    assert world.replicas == 3 and world.scaler is None
    await world.change(autoscaling=AUTOSCALING)
    assert world.replicas == 3 and world.scaler is not None


async def test_turning_it_off_takes_the_number_back(world: Scaled) -> None:
    await world.served(replicas=2)
    await world.scale(4)
    await world.ready()
    await world.change(autoscaling=None)
    assert world.replicas == 2 and world.scaler is None
    verbs = [(verb, kind) for verb, kind, name in world.cluster.writes if name == SERVED]
    deleted = verbs.index(("delete", "ScaledObject"))
    assert ("apply", "Deployment") in verbs[deleted:], "the scaler goes first: it would scale once more"


async def test_suspend_ends_the_servers_and_the_autoscaler_and_what_comes_after_begins_anew(world: Scaled) -> None:
    await world.served()
    await world.scale(3)
    await world.ready()
    await world.change(suspend=True)
    assert world.replicas == 0 and world.scaler is None
    await world.ready()
    await world.change(suspend=None)
    assert world.replicas == 1 and world.scaler is None
    await world.ready()
    assert world.replicas == 1 and world.scaler is not None


async def test_a_scaler_that_may_not_be_deleted_keeps_no_server_running(
    world: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.served()

    async def delete(*_: Any, **__: Any) -> None:
        raise ApiError(403, "Forbidden", "no")

    monkeypatch.setattr(world.cluster, "delete", delete)
    await world.change(suspend=True)
    assert world.replicas == 0 and world.scaler is not None
    assert "refuses the ScaledObject" in world.says("Accepted")[2]


async def test_zero_is_ready(world: Scaled) -> None:
    await world.served(autoscaling=AUTOSCALING | {"minReplicas": 0})
    await world.scale(0)
    await world.ready()
    assert world.says("Ready")[:2] == ("True", "ScaledToZero") and "nobody asks" in world.says("Ready")[2]
    assert world.replicas == 0 and world.scaler is not None
    await world.scale(1)
    assert world.says("Ready")[:2] == ("False", "Starting") and world.replicas == 1


async def test_more_servers_on_their_way_leave_it_ready(world: Scaled) -> None:
    await world.served()
    await world.scale(3)
    made = world.changed(DEPLOYMENTS, SERVED)
    made["status"] = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 1}
    made["status"]["observedGeneration"] = made["metadata"]["generation"]
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.says("Ready")[0] == "True"
    assert world.says("Available")[2] == "1 of 3 servers are ready"


async def test_a_hands_edit_and_a_deletion_are_repaired(world: Scaled) -> None:
    await world.served()
    live = world.changed(SCALED_OBJECTS, SERVED)
    live["spec"]["maxReplicaCount"] = 9
    live["spec"]["triggers"].append({"type": "cron", "metadata": {}})
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.scaler is not None and world.scaler["spec"]["maxReplicaCount"] == 4
    assert len(world.scaler["spec"]["triggers"]) == 1
    del world.cluster.objects[SCALED_OBJECTS.kind, NAMESPACE, SERVED]
    world.operator._store.remove(SCALED_OBJECTS, world.scaler["metadata"] if world.scaler else live["metadata"])
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.scaler is not None


async def test_it_follows_the_spec_while_the_model_makes_no_sense(world: Scaled) -> None:
    await world.served()
    model = world.changed(QWEN3_MODELS, world.model_of(SERVED))
    model["status"]["model"]["config"] = {"model_type": "qwen3", "num_hidden_layers": "many"}
    await world.change(autoscaling=AUTOSCALING | {"maxReplicas": 2})
    assert world.says("Accepted")[1] == "InvalidModelConfig"
    assert world.scaler is not None and world.scaler["spec"]["maxReplicaCount"] == 2


async def test_another_ones_scaled_object_is_left_alone(world: Scaled) -> None:
    theirs = {"metadata": {"namespace": NAMESPACE, "name": SERVED}, "spec": {"maxReplicaCount": 9}}
    world.cluster.put(SCALED_OBJECTS, theirs)
    await world.served()
    assert world.scaler is not None and world.scaler["spec"] == {"maxReplicaCount": 9}
    assert "ScaledObject chat is there already" in world.says("Accepted")[2]
    assert world.says("Ready")[0] == "True"


async def test_without_keda_it_serves_and_says_so(world: Scaled) -> None:
    """Its CRD is not served: the operator has left the watch out."""
    world.cluster.unknown.add(SCALED_OBJECTS)
    await world.operator._leave_out_missing()
    assert SCALED_OBJECTS not in world.operator._store.kinds
    world.cluster.show = lambda store: _show_known(world, store)  # type: ignore[method-assign]
    await world.served(autoscaling=AUTOSCALING | {"minReplicas": 2})
    assert world.replicas == 2 and world.scaler is None
    assert world.says("Accepted")[:2] == ("True", "AcceptedWithWarnings")
    assert "install KEDA" in world.says("Accepted")[2] and world.says("Ready")[0] == "True"
    world.cluster.unknown.clear()
    world.operator._store.take_in(SCALED_OBJECTS)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.scaler is not None, "it was installed meanwhile"


async def test_where_keda_was_removed_nothing_sleeps_for_ever(world: Scaled) -> None:
    await world.served(autoscaling=AUTOSCALING | {"minReplicas": 0})
    await world.scale(0)
    await world.ready()
    world.cluster.unknown.add(SCALED_OBJECTS)
    world.operator._store.leave_out(SCALED_OBJECTS)
    world.cluster.show = lambda store: _show_known(world, store)  # type: ignore[method-assign]
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.replicas == 1 and "install KEDA" in world.says("Accepted")[2]


def _show_known(world: Scaled, store: Any) -> None:
    for kind in store.kinds:
        for obj in world.cluster.of(kind):
            store.put(kind, dict(obj))


async def test_an_operator_without_keda_says_so() -> None:
    world = Scaled()
    assert SCALED_OBJECTS not in world.operator._store.kinds
    world.cluster.show = lambda store: _show_known(world, store)  # type: ignore[method-assign]
    await world.served()
    assert "autoscaling.enabled" in world.says("Accepted")[2] and world.scaler is None


async def test_what_keda_says_is_shown(world: Scaled) -> None:
    await world.served()
    live = world.changed(SCALED_OBJECTS, SERVED)
    failed = {"type": "Ready", "status": "False", "reason": "TriggerError", "message": "prometheus: no data"}
    live["status"] = {"conditions": [failed, {"type": "Active", "status": "False"}]}
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert "prometheus: no data" in world.says("Accepted")[2]
    status = world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]
    assert status["autoscaling"] == {"desiredReplicas": 1, "active": False}


async def test_what_waits_at_the_front_wakes_it() -> None:
    world = Scaled(prometheus_address=PROMETHEUS, front_service="qwen3-system/front")
    await world.served(autoscaling=AUTOSCALING | {"minReplicas": 0})
    assert world.scaler is not None
    *_, front = world.scaler["spec"]["triggers"]
    assert front == waiting_trigger("qwen3-system/front", NAMESPACE, SERVED, 8)
    await world.change(autoscaling=AUTOSCALING)
    assert world.scaler is not None
    assert "metrics-api" not in {trigger["type"] for trigger in world.scaler["spec"]["triggers"]}

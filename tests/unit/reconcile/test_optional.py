"""Children that the servers do not depend on: what is wrong with one is a warning, and it is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, downloaded
from tests.unit.reconcile.served import Served, fails
from tests.unit.reconcile.test_autoscaling import AUTOSCALING, PROMETHEUS, Scaled

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import (
    CLAIMS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    HTTP_ROUTES,
    SCALED_OBJECTS,
    STORAGE_CLASSES,
    Kind,
)
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Key, reconcile_deployment, reconcile_model

GATEWAY = {"gateway": {"parentRef": {"name": "public"}}}
AWAY = ApiError(500, "InternalError", 'failed calling webhook "theirs": connection refused')


async def tried_again(world: Served) -> None:
    """A next reconcile is asked for, as of trouble."""
    again = await reconcile_deployment(world.operator._context, Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    assert isinstance(again, Requeue) and again.trouble


@pytest.mark.parametrize("kind", [HTTP_ROUTES, DISRUPTION_BUDGETS])
async def test_a_webhook_that_is_down_keeps_no_server_from_being_made(kind: Kind) -> None:
    world = Served(gateway=True)
    fails(world, kind, AWAY)
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(service=GATEWAY, replicas=2))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await downloaded(world, world.model_of(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.cluster.of(DEPLOYMENTS)
    said = world.status(QWEN3_DEPLOYMENTS, SERVED)
    assert "connection refused" in said["Routed" if kind == HTTP_ROUTES else "Accepted"][2]
    await world.ready()
    await tried_again(world)


async def test_servers_stop_though_their_autoscaler_cannot_be_deleted() -> None:
    world = Scaled(prometheus_address=PROMETHEUS)
    await world.served()
    fails(world, SCALED_OBJECTS, AWAY)
    await world.change(suspend=True)
    assert world.replicas == 0 and world.scaler is not None
    await tried_again(world)


async def test_what_changes_at_the_moment_of_its_end_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """KEDA writes the status of a ScaledObject at any moment."""
    world = Scaled(prometheus_address=PROMETHEUS)
    await world.served()
    delete, conflicts = world.cluster.delete, [ApiError(409, "Conflict", "it was changed")]

    async def changed(*words: Any, **more: Any) -> None:
        if conflicts:
            raise conflicts.pop()
        await delete(*words, **more)

    monkeypatch.setattr(world.cluster, "delete", changed)
    await world.change(suspend=True)
    assert world.scaler is None


async def test_a_route_whose_name_is_taken_is_tried_again() -> None:
    world = Served(gateway=True)
    await world.served()
    world.cluster.put(HTTP_ROUTES, {"metadata": {"namespace": NAMESPACE, "name": SERVED}, "spec": {}})
    await world.change(service=GATEWAY)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Routed"][:2] == ("False", "NameTaken")
    await tried_again(world)


async def test_a_scaler_whose_name_is_taken_is_tried_again() -> None:
    world = Scaled(prometheus_address=PROMETHEUS)
    world.cluster.put(SCALED_OBJECTS, {"metadata": {"namespace": NAMESPACE, "name": SERVED}, "spec": {}})
    await world.served(autoscaling=AUTOSCALING)
    await tried_again(world)


async def test_a_class_that_lets_no_claim_grow_is_read_again() -> None:
    world = Served(read_cluster=True)
    cache = {"enabled": True, "size": "1Gi", "storageClassName": "fast"}
    await world.served(engine={"compileCache": cache})
    world.cluster.put(STORAGE_CLASSES, {"metadata": {"name": "fast"}, "allowVolumeExpansion": False})
    await world.change(engine={"compileCache": cache | {"size": "2Gi"}})
    assert "does not let" in world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][2]
    await tried_again(world)


async def test_a_claim_that_may_not_grow_is_asked_again_beside_a_copy_in_place() -> None:
    world = Served()
    await world.served()
    fails(world, CLAIMS, ApiError(403, "Forbidden", "the StorageClass must support resize"))
    model = world.changed(QWEN3_MODELS, world.model_of(SERVED))
    model["spec"]["storage"] = {"size": "900Gi"}
    world.cluster.show(world.operator._store)
    key = Key(QWEN3_MODELS.kind, NAMESPACE, model["metadata"]["name"])
    again = await reconcile_model(world.operator._context, key)
    assert isinstance(again, Requeue) and again.trouble

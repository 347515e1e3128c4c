"""Children that lose our label: no watch shows them any more, and what they are is read before they are written."""

from __future__ import annotations

from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served
from tests.unit.reconcile.test_autoscaling import PROMETHEUS, Scaled

from qwen3_operator.controller.kinds import CLAIMS, DEPLOYMENTS, Kind
from qwen3_operator.naming import MANAGED_BY, MANAGER, QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Key

CACHE = f"{SERVED}-compile-cache"


async def loses_label(world: Served, kind: Kind, name: str) -> None:
    """`kubectl label KIND NAME app.kubernetes.io/managed-by-`, of which a watch by the label says DELETED."""
    live = world.changed(kind, name)
    del live["metadata"]["labels"][MANAGED_BY]
    world.operator._store.remove(kind, live["metadata"])
    await world.operator._handle(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    assert world.cluster.objects[kind.kind, NAMESPACE, name]["metadata"]["labels"][MANAGED_BY] == MANAGER


async def test_the_number_of_servers_stays_the_autoscalers() -> None:
    world = Scaled(prometheus_address=PROMETHEUS)
    await world.served()
    await world.scale(3)
    await world.ready()
    await loses_label(world, DEPLOYMENTS, SERVED)
    assert world.replicas == 3


async def test_servers_stay_as_they_were_made() -> None:
    world = Served()
    await world.served()
    before = world.server["spec"]["template"]
    world.start(engine_image="vllm/vllm-openai:v0.32.0")  # an upgrade: other defaults
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await loses_label(world, DEPLOYMENTS, SERVED)
    assert world.server["spec"]["template"] == before


async def test_servers_that_are_to_stop_are_stopped() -> None:
    world = Served()
    await world.served()
    obj = world.changed(QWEN3_DEPLOYMENTS, SERVED)
    obj["spec"] |= {"suspend": True, "podTemplatePatch": "metadata: {labels: [a]}"}
    obj["metadata"]["generation"] += 1
    world.cluster.show(world.operator._store)
    await loses_label(world, DEPLOYMENTS, SERVED)
    assert world.server["spec"]["replicas"] == 0


async def test_a_cache_claim_is_not_asked_to_shrink() -> None:
    world = Served()
    await world.served(engine={"compileCache": {"enabled": True, "size": "5Gi"}})
    world.changed(CLAIMS, CACHE)["status"] = {"phase": "Bound"}
    await world.change(engine={"compileCache": {"enabled": True, "size": "2Gi"}})
    await loses_label(world, CLAIMS, CACHE)
    claim = world.cluster.objects[CLAIMS.kind, NAMESPACE, CACHE]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"

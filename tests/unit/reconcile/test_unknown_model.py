"""A model that the catalogue does not know is planned by its config.json alone, whatever was served before (core 9)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World, downloaded
from tests.unit.plugin.recorded import CONFIG

from qwen3_operator.controller.kinds import DEPLOYMENTS
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS

UNKNOWN: dict[str, Any] = {"model": {"id": "acme/our-finetune", "storage": {"size": "40Gi"}}}
REPORTED: dict[str, Any] = {"config": CONFIG, "weightsBytes": 16_381_470_720}
"""An 8B with its architecture, as its download reports it."""


async def reported(world: World) -> None:
    """Its download has ended."""
    found = (model for model in world.cluster.of(QWEN3_MODELS) if model["spec"]["id"] == UNKNOWN["model"]["id"])
    await downloaded(world, next(found)["metadata"]["name"], **REPORTED)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)


async def made_directly() -> World:
    world = World()
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(**UNKNOWN))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await reported(world)
    return world


async def edited_into(engine: dict[str, Any]) -> World:
    """A known 8B is served, and its spec edited."""
    world = World()
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(model={"id": "Qwen/Qwen3-8B"}, engine=engine))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await downloaded(world, world.model_of(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    world.server_is_ready()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    obj = world.changed(QWEN3_DEPLOYMENTS, SERVED)
    obj["spec"] |= UNKNOWN | {"engine": {}}
    obj["metadata"]["generation"] += 1
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await reported(world)
    return world


def planned(world: World) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]["plan"]
    return values


def command(world: World) -> list[str]:
    server = world.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]
    (container,) = [it for it in server["spec"]["template"]["spec"]["containers"] if it["name"] == "vllm"]
    return [*container.get("command", ()), *container.get("args", ())]


@pytest.mark.parametrize("engine", [{}, {"maxModelLen": 2048}], ids=["its default length", "a length of its own"])
async def test_an_edit_ends_where_a_new_object_would(engine: dict[str, Any]) -> None:
    direct, edited = await made_directly(), await edited_into(engine)
    length = next(value for value in planned(direct) if value["field"] == "maxModelLen")
    assert length["value"] == "40960", "as config.json allows, on a GPU with room for it"
    assert planned(edited) == planned(direct)
    assert command(edited) == command(direct) and "40960" in command(direct)

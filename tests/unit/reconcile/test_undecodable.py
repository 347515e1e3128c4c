"""A Qwen3Model that cannot be read is its own trouble: who uses it goes on, and holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.wrappers import Q3b, Q3d, Q3m
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World, downloaded

from qwen3_operator.controller.kinds import DEPLOYMENTS
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS

Object = dict[str, Any]
Spoil = Callable[[World, str], None]
OTHER = "Qwen/Qwen3-1.7B"
BEYOND = {"pod": {"annotations": {"a" * 400: "x"}}}
"""What the API server takes, for a CRD bounds no keys, and the operator does not."""


@pytest.fixture
def world() -> World:
    return World()


def break_model(world: World, name: str) -> None:
    """Another hand nests something deep into it."""
    deep: Any = {}
    for _ in range(230):
        deep = {"a": deep}
    world.changed(QWEN3_MODELS, name)["spec"]["scheduling"] = {"affinity": deep}
    world.cluster.show(world.operator._store)
    assert UNDECODABLE in (world.operator._store.get(QWEN3_MODELS, NAMESPACE, name) or {})


def make_strange(world: World, name: str) -> None:
    """Another hand writes into it what this operator cannot read."""
    world.changed(QWEN3_MODELS, name)["spec"]["download"] = BEYOND
    world.cluster.show(world.operator._store)


def edit(world: World, **spec: Any) -> None:
    obj = world.changed(QWEN3_DEPLOYMENTS, SERVED)
    obj["spec"] |= spec
    obj["metadata"]["generation"] += 1


@pytest.mark.parametrize("spoil", [break_model, make_strange])
async def test_servers_of_such_a_model_go_on_and_hold_it(world: World, spoil: Spoil) -> None:
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    model = world.model_of(SERVED)
    await downloaded(world, model)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    world.server_is_ready()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    spoil(world, model)
    writes = len(world.cluster.writes)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Ready"][0] == "True"
    written = ["Qwen3Deployment/status"] if spoil is break_model else []  # the id is not known
    assert [what for _, what, _ in world.cluster.writes[writes:]] == written
    edit(world, model={"id": OTHER})
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 3)
    held = world.cluster.objects[QWEN3_MODELS.kind, NAMESPACE, model]["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in held] == [SERVED], "its servers run on it"
    assert "ReconcileFailed" not in str(world.status(QWEN3_DEPLOYMENTS, SERVED))


@pytest.mark.parametrize("spoil", [break_model, make_strange])
async def test_who_refers_to_such_a_model_is_reported(world: World, spoil: Spoil) -> None:
    world.apply(QWEN3_MODELS, Q3m("weights").set(id=OTHER))
    user = Q3d(SERVED).set(modelRef={"name": "weights"})
    del user.spec["model"]
    world.apply(QWEN3_DEPLOYMENTS, user)
    batch = Q3b("nightly").set(deploymentRef={"name": SERVED})
    batch.spec.pop("model", None)
    world.apply(QWEN3_BATCHES, batch)
    spoil(world, "weights")
    await world.reconcile(QWEN3_MODELS, "weights")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await world.reconcile(QWEN3_BATCHES, "nightly", 2)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["ModelReady"][:2] == ("False", "InvalidSpec")
    assert (DEPLOYMENTS.kind, NAMESPACE, SERVED) not in world.cluster.objects
    status, reason, words = world.status(QWEN3_BATCHES, "nightly")["Accepted"]
    assert (status, reason) == ("False", "InvalidSpec") and "Qwen3Model weights" in words


async def test_such_a_model_that_was_made_ahead_stops_nobody_who_names_its_id(world: World) -> None:
    world.apply(QWEN3_MODELS, Q3m("theirs").set(id=OTHER, download=BEYOND))
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(model={"id": OTHER}))
    world.apply(QWEN3_BATCHES, Q3b("nightly").set(model={"id": OTHER}))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 6)
    await world.reconcile(QWEN3_BATCHES, "nightly", 6)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][0] == "True"
    assert "ReconcileFailed" not in str(world.status(QWEN3_BATCHES, "nightly"))
    assert {model["metadata"]["name"] for model in world.cluster.of(QWEN3_MODELS)} > {"theirs"}

"""What destroys, or writes to what is shared, goes by what is there, not by what the watches have shown so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import CLAIMS, EVENTS, Kind
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, owner_reference
from qwen3_operator.reconcile import Context, Key
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

Object = dict[str, Any]
FIRST = {"id": "Qwen/Qwen3-0.6B", "storage": {"retentionPolicy": "Delete"}}
THEN = {"id": "Qwen/Qwen3-1.7B", "storage": {"retentionPolicy": "Delete"}}


class Moved(World):
    """A Qwen3Deployment that asks for another model before there is any server: it lets the first one go."""

    model = ""

    async def made(self) -> None:
        """It waits for the first model, whose claim it holds as well. The watches have shown all of it."""
        self.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(model=FIRST))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
        self.model = self.model_of(SERVED)
        await self.reconcile(QWEN3_MODELS, self.model)
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED)
        assert [self.holders(QWEN3_MODELS), self.holders(CLAIMS)] == [[SERVED], [self.model, SERVED]]
        obj = self.changed(QWEN3_DEPLOYMENTS, SERVED)
        obj["spec"]["model"] = THEN
        obj["metadata"]["generation"] += 1
        self.cluster.show(self.operator._store)

    async def moves(self) -> None:
        """Reconcile by what the watches have shown."""
        await self.operator._handle(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))

    def holders(self, kind: Kind) -> list[str] | None:
        """Names of those that hold the first model, or its claim; None where it is not there."""
        live = self.cluster.objects.get((kind.kind, NAMESPACE, self.model))
        if live is None:
            return None
        return [owner["name"] for owner in live["metadata"].get("ownerReferences") or ()]

    def hold(self, kind: Kind) -> None:
        """Another Qwen3Deployment takes hold of it, which no watch has shown."""
        other = owner_reference("Qwen3Deployment", QWEN3_DEPLOYMENTS.api_version, "other", "o", controller=False)
        self.changed(kind, self.model)["metadata"]["ownerReferences"].append(other)


@pytest.fixture
async def world() -> Moved:
    it = Moved()
    it.cluster.put(QWEN3_DEPLOYMENTS, {"metadata": {"namespace": NAMESPACE, "name": "other", "uid": "o"}})
    await it.made()
    return it


async def test_a_model_that_nobody_holds_any_more_goes(world: Moved) -> None:
    await world.moves()
    assert (world.holders(QWEN3_MODELS), world.holders(CLAIMS)) == (None, [world.model]), "the claim goes with it"


async def test_what_gained_a_holder_meanwhile_stays_for_it(world: Moved) -> None:
    for kind in (QWEN3_MODELS, CLAIMS):
        world.hold(kind)
    await world.moves()
    assert world.holders(QWEN3_MODELS) == ["other"]
    assert world.holders(CLAIMS) == [world.model, "other"]


@pytest.mark.parametrize("verb", ["delete", "merge"])
async def test_a_holder_that_comes_at_the_moment_of_the_write_is_kept(
    world: Moved, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server answers 409, and it is looked at again."""
    kind = {"delete": QWEN3_MODELS, "merge": CLAIMS}[verb]
    send: Callable[..., Any] = getattr(world.cluster, verb)
    conflicts: list[str] = []

    async def late(of: Kind, *args: Any, **more: Any) -> Any:
        if of == kind and not conflicts:
            world.hold(kind)
        try:
            return await send(of, *args, **more)
        except ApiError as error:
            conflicts.append(error.reason)
            raise

    if verb == "merge":
        world.hold(QWEN3_MODELS)  # else the claim goes with it
    monkeypatch.setattr(world.cluster, verb, late)
    await world.moves()
    assert conflicts == ["Conflict"]
    assert (world.holders(QWEN3_MODELS) or ())[-1:] == ["other"]
    assert "other" in (world.holders(CLAIMS) or ()) or verb == "delete"
    assert SERVED not in (world.holders(kind) or ())


async def test_a_holder_that_comes_while_the_last_one_reads_is_kept(
    world: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it decides by is what it deletes: no later version."""
    get = world.cluster.get
    reads: list[str] = []

    async def held_meanwhile(kind: Kind, namespace: str | None, name: str) -> Any:
        found = await get(kind, namespace, name)
        if kind == QWEN3_MODELS and name == world.model:
            reads.append(name)
            if len(reads) == 1:
                world.hold(kind)
        return found

    monkeypatch.setattr(world.cluster, "get", held_meanwhile)
    await world.moves()
    assert world.holders(QWEN3_MODELS) == ["other"]


async def test_the_status_of_what_was_deleted_is_not_given_to_what_was_made_anew() -> None:
    """A batch that has ended, say, is deleted and applied again to run once more. For the API server's status
    subresource a uid is no precondition (tests/faults/test_users.py)."""
    cluster, store = MemoryCluster(), Store(WATCHED)
    client = cast(Cluster, cluster)
    context = Context(client, store, Settings(identity="test"), Recorder(client, "test"), Nodes(store))
    before = cluster.put(QWEN3_MODELS, {"metadata": {"namespace": NAMESPACE, "name": "weights"}, "spec": {}})
    cluster.show(store)
    del cluster.objects[QWEN3_MODELS.kind, NAMESPACE, "weights"]
    anew = cluster.put(QWEN3_MODELS, {"metadata": {"namespace": NAMESPACE, "name": "weights"}, "spec": {}})
    assert anew["metadata"]["uid"] != before["metadata"]["uid"]
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "in place"}
    await context.write_status(QWEN3_MODELS, before, {"conditions": [ready]})
    assert cluster.writes == [("apply", "Qwen3Model/status", "weights")] * 2
    assert cluster.objects[QWEN3_MODELS.kind, NAMESPACE, "weights"]["status"] == {}
    assert store.get(QWEN3_MODELS, NAMESPACE, "weights") == before, "the store does not know it yet"
    assert not cluster.of(EVENTS), "and no Event says that it is ready"

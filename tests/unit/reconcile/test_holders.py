"""Which models and claims a Qwen3Deployment lets go of, whatever the way that led there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, downloaded
from tests.unit.reconcile.served import Served

from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller import store
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import CLAIMS, DEPLOYMENTS, JOBS, Kind
from qwen3_operator.naming import MODEL_LABEL, QWEN3_DEPLOYMENTS, QWEN3_MODELS, model_name
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.holders import reference_to, retention
from qwen3_operator.status.model import SHOWN_USERS

SMALL, OTHER, WRONG = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-235B-A22B"
MANY = 2000
DELETE = {"storage": {"retentionPolicy": "Delete"}}


class Holding(Served):
    """One Qwen3Deployment, and what it holds."""

    @property
    def models(self) -> set[str]:
        return {model["metadata"]["name"] for model in self.cluster.of(QWEN3_MODELS)}

    @property
    def claims(self) -> set[str]:
        """Those that are there once the garbage collector has looked at them."""
        self.cluster._collect_garbage()
        return {claim["metadata"]["name"] for claim in self.cluster.of(CLAIMS)}

    async def move(self, id: str, **source: Any) -> None:
        """Another model, as far as its servers being there beside those of before."""
        await self.change(model={"id": id, **source})
        await downloaded(self, named(id))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)


def user(number: int) -> str:
    """Name of one of many."""
    return f"user-{number:04d}"


def named(id: str) -> str:
    """The Qwen3Model that is made for an id."""
    return model_name(ModelSource(id=id))


@pytest.fixture
def world() -> Holding:
    return Holding()


async def test_a_wrong_id_at_the_first_creation_is_let_go_when_it_is_corrected(world: Holding) -> None:
    """Before there is any server or any copy; its download stops."""
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(model={"id": WRONG}))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await world.reconcile(QWEN3_MODELS, named(WRONG), 2)
    world.bind(named(WRONG))
    world.download_runs(named(WRONG), 1)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.models == {named(WRONG)}
    await world.change(model={"id": SMALL})
    assert world.models == {named(SMALL)} and world.model_of(SERVED) == named(SMALL)
    assert not [job for job in world.cluster.of(JOBS) if job["metadata"]["labels"][MODEL_LABEL] == named(WRONG)]


async def test_a_move_under_delete_frees_the_claim_before_once_its_servers_are_gone(world: Holding) -> None:
    await world.served(model={"id": SMALL, **DELETE})
    assert world.claims == {named(SMALL)}
    await world.move(OTHER, **DELETE)
    both = {named(SMALL), named(OTHER)}
    assert world.models == world.claims == both, "servers of both are there"
    await world.ready()
    assert world.models == world.claims == {named(OTHER)}


async def test_a_move_under_retain_lets_the_model_go_and_keeps_the_weights(world: Holding) -> None:
    await world.served(model={"id": SMALL})
    await world.move(OTHER)
    await world.ready()
    assert world.models == {named(OTHER)} and world.claims == {named(SMALL), named(OTHER)}


async def test_a_quota_that_refuses_the_new_model_once_is_no_reason_to_keep_the_old_one(
    world: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, full = world.cluster.apply, [True]

    async def limited(kind: Kind, obj: dict[str, Any], **more: Any) -> dict[str, Any]:
        if full and kind == QWEN3_MODELS and obj["metadata"]["name"] == named(OTHER):
            raise ApiError(403, "Forbidden", "exceeded quota: models, used: 1, limited: 1")
        return await apply(kind, obj, **more)

    monkeypatch.setattr(world.cluster, "apply", limited)
    await world.served(model={"id": SMALL, **DELETE})
    await world.change(model={"id": OTHER, **DELETE})
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][1] == "Qwen3ModelRefused"
    assert world.models == {named(SMALL)}, "servers run on it"
    assert world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]["model"]["name"] == named(SMALL)
    full.clear()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await downloaded(world, named(OTHER))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    await world.ready()
    assert world.models == world.claims == {named(OTHER)} and world.model_of(SERVED) == named(OTHER)


async def test_who_goes_on_with_the_files_of_another_hub_is_warned(world: Holding) -> None:
    """An earlier release left the hub out of the name, and whoever holds such a model goes on with it."""
    await world.served(model={"id": SMALL})
    world.apply(QWEN3_DEPLOYMENTS, Q3d("other").set(model={"id": SMALL}))
    await world.reconcile(QWEN3_DEPLOYMENTS, "other", 2)
    assert world.status(QWEN3_DEPLOYMENTS, "other")["Accepted"][1] == "Accepted"
    world.changed(QWEN3_DEPLOYMENTS, "other")["spec"]["model"]["endpoint"] = "https://hub.example"
    await world.reconcile(QWEN3_DEPLOYMENTS, "other", 2)
    accepted = world.status(QWEN3_DEPLOYMENTS, "other")["Accepted"]
    assert accepted[:2] == ("True", "AcceptedWithWarnings")
    assert f"the files of Qwen3Model {named(SMALL)} come from https://modelscope.cn" in accepted[2]
    assert world.models == {named(SMALL)}
    world.apply(QWEN3_DEPLOYMENTS, Q3d("new").set(model={"id": SMALL, "endpoint": "https://hub.example"}))
    await world.reconcile(QWEN3_DEPLOYMENTS, "new", 2)
    assert len(world.models) == 2, "who comes now has a model of the hub that it names"
    assert world.status(QWEN3_DEPLOYMENTS, "new")["Accepted"][1] == "Accepted"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_two_thousand_users_of_one_model_are_a_few_writes_and_none_reads_the_others(
    world: Holding, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    source = {"id": SMALL, "storage": {"retentionPolicy": policy}}
    for number in range(MANY):
        world.apply(QWEN3_DEPLOYMENTS, Q3d(user(number)).set(model=source))
    await world.reconcile(QWEN3_DEPLOYMENTS, user(0))
    await world.reconcile(QWEN3_DEPLOYMENTS, user(1))
    await world.reconcile(QWEN3_MODELS, named(SMALL), 2)
    world.bind(named(SMALL))
    reads: list[Any] = []
    read = store._read

    def counted(entry: Any) -> Any:
        reads.append(entry)
        return read(entry)

    monkeypatch.setattr(store, "_read", counted)
    for number in (2, 3, MANY - 1):
        reads.clear()
        await world.operator._handle(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, user(number)))
        assert len(reads) < 20
    shared = {QWEN3_MODELS.kind, CLAIMS.kind}
    assert len([write for write in world.cluster.writes if write[1] in shared]) <= 6
    (model,) = world.cluster.of(QWEN3_MODELS)
    assert len(model["metadata"]["ownerReferences"]) == MANY
    status = model["status"]
    assert status["users"] == MANY and status["retentionPolicy"] == policy
    assert status["usedBy"] == [user(number) for number in range(SHOWN_USERS)]
    (claim,) = world.cluster.of(CLAIMS)
    owners = [it for it in claim["metadata"].get("ownerReferences") or () if it["kind"] == QWEN3_DEPLOYMENTS.kind]
    assert len(owners) == (MANY if policy == "Delete" else 0)


async def test_one_of_two_thousand_who_wants_the_weights_kept_wins(world: Holding) -> None:
    """Also while it only holds the model, and no status says yet that it is served from it."""
    for number in range(20):
        world.apply(QWEN3_DEPLOYMENTS, Q3d(user(number)).set(model={"id": SMALL, **DELETE}))
    await world.reconcile(QWEN3_DEPLOYMENTS, user(0))
    await world.reconcile(QWEN3_MODELS, named(SMALL), 2)
    assert retention(world.operator._context, world.cluster.of(QWEN3_MODELS)[0]) == "Delete"
    world.apply(QWEN3_DEPLOYMENTS, Q3d("keeper").set(model={"id": SMALL}))
    await world.reconcile(QWEN3_DEPLOYMENTS, "keeper")
    del world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, "keeper"]["status"]
    world.changed(QWEN3_DEPLOYMENTS, "keeper")
    world.start()  # a new process, which has reconciled nothing yet
    world.cluster.show(world.operator._store)
    assert retention(world.operator._context, world.cluster.of(QWEN3_MODELS)[0]) == "Retain"
    await world.reconcile(QWEN3_MODELS, named(SMALL))
    assert world.cluster.of(QWEN3_MODELS)[0]["status"]["retentionPolicy"] == "Retain"


async def test_a_holder_that_came_at_this_very_moment_keeps_the_model(world: Holding) -> None:
    """No watch has shown it yet: what is let go of is read live."""
    await world.served(model={"id": SMALL})
    await world.move(OTHER)
    model = world.cluster.objects[QWEN3_MODELS.kind, NAMESPACE, named(SMALL)]
    world.apply(QWEN3_DEPLOYMENTS, Q3d("late").set(model={"id": SMALL}))
    late = world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, "late"]
    made = world.changed(DEPLOYMENTS, SERVED)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 1)
    made["status"] = counts | {"observedGeneration": made["metadata"]["generation"]}
    world.cluster.show(world.operator._store)
    model["metadata"]["ownerReferences"].append(reference_to(QWEN3_DEPLOYMENTS, late))
    world.changed(QWEN3_MODELS, named(SMALL))
    await world.operator._handle(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    model = world.cluster.objects[QWEN3_MODELS.kind, NAMESPACE, named(SMALL)]
    assert [owner["name"] for owner in model["metadata"]["ownerReferences"]] == ["late"]

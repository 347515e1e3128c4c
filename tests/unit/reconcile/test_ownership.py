"""What has the name of a child and is not controlled by its owner is neither believed, nor written, nor deleted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.cluster.wrappers import Q3d, Q3m
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World, downloaded

from qwen3_operator.controller.kinds import CLAIMS, JOBS
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, model_labels
from qwen3_operator.reconcile import Key

Object = dict[str, Any]
NAME = "weights"
LONG_AGO = "2026-01-01T00:00:00Z"
OTHERS = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "backup", "uid": "another", "controller": True}


class Model(World):
    """One Qwen3Model, and the Jobs of other hands."""

    @property
    def live(self) -> Object:
        return self.cluster.objects[QWEN3_MODELS.kind, NAMESPACE, NAME]

    async def made(self) -> str:
        """Bring it to where its Job is there. Returns the Job's name."""
        self.apply(QWEN3_MODELS, Q3m(NAME).set(id="Qwen/Qwen3-0.6B", storage={"size": "4Gi"}))
        await self.reconcile(QWEN3_MODELS, NAME, 2)
        return self._job(NAME)

    def foreign(self, name: str, *owners: Object, **status: Any) -> Object:
        """A Job of another hand in the place of ours, with our labels. Returns it as it is."""
        self.cluster.objects.pop((JOBS.kind, NAMESPACE, name), None)
        meta = {"namespace": NAMESPACE, "name": name, "labels": model_labels(NAME), "ownerReferences": list(owners)}
        return copy.deepcopy(self.cluster.put(JOBS, {"metadata": meta, "spec": {"template": {}}, "status": status}))

    def job(self, name: str) -> Object | None:
        return self.cluster.objects.get((JOBS.kind, NAMESPACE, name))

    async def supersedes(self) -> str:
        """Bring it to where a Job frees the folder of a revision before. Returns the Job's name."""
        await self.made()
        await downloaded(self, NAME)
        before = {job["metadata"]["name"] for job in self.cluster.of(JOBS)}
        self.changed(QWEN3_MODELS, NAME)["status"]["superseded"] = [{"revision": "v1", "path": "before"}]
        await self.reconcile(QWEN3_MODELS, NAME)
        (name,) = {job["metadata"]["name"] for job in self.cluster.of(JOBS)} - before
        return str(name)


@pytest.fixture
def world() -> Model:
    return Model()


def ended(how: str) -> Object:
    return {"conditions": [{"type": how, "status": "True", "lastTransitionTime": LONG_AGO}]}


@pytest.mark.parametrize("owners", [(), (OTHERS,)], ids=["no owner", "another owner"])
async def test_a_download_that_somebody_else_reports_is_not_believed(world: Model, owners: tuple[Object, ...]) -> None:
    name = await world.made()
    world.bind(NAME)
    world.foreign(name, *owners, startTime=LONG_AGO)
    world.download_runs(NAME, 1)
    world.download_ends(NAME)
    forged = copy.deepcopy(world.job(name))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    said = world.status(QWEN3_MODELS, NAME)
    assert said["Accepted"][:2] == ("False", "NameTaken") and f"Job {name} is there already" in said["Accepted"][2]
    assert said["Stalled"][0] == "True" and "model" not in world.live["status"]
    assert world.job(name) == forged


async def test_a_name_that_comes_free_is_taken_for_the_download(world: Model) -> None:
    name = await world.made()
    world.foreign(name)
    await world.reconcile(QWEN3_MODELS, NAME)
    del world.cluster.objects[JOBS.kind, NAMESPACE, name]
    world.operator._store.remove(JOBS, world.operator._store.get(JOBS, NAMESPACE, name)["metadata"])  # type: ignore[index]
    await downloaded(world, NAME)
    assert world.status(QWEN3_MODELS, NAME)["Ready"][0] == "True"


async def test_the_job_of_a_deleted_model_of_this_name_is_waited_for(world: Model) -> None:
    """Whoever deletes a model and makes it anew at once has no failure for it."""
    name = await world.made()
    before = {"apiVersion": world.live["apiVersion"], "kind": QWEN3_MODELS.kind, "name": NAME, "uid": "before"}
    world.foreign(name, before | {"controller": True})
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    said = world.status(QWEN3_MODELS, NAME)
    assert said["Accepted"][0] == "True" and said["Downloaded"][1] == "Waiting" and said["Stalled"][0] == "False"
    assert not world.operator.queue.failing(Key(QWEN3_MODELS.kind, NAMESPACE, NAME))
    del world.cluster.objects[JOBS.kind, NAMESPACE, name]
    world.operator._store.remove(JOBS, world.operator._store.get(JOBS, NAMESPACE, name)["metadata"])  # type: ignore[index]
    await downloaded(world, NAME)
    assert world.status(QWEN3_MODELS, NAME)["Ready"][0] == "True"


async def test_a_job_that_only_names_the_model_as_an_owner_is_not_deleted(world: Model) -> None:
    """Another revision: our own Job of the one before goes."""
    name, uid = await world.made(), world.live["metadata"]["uid"]
    plain = {"apiVersion": world.live["apiVersion"], "kind": QWEN3_MODELS.kind, "name": NAME, "uid": uid}
    theirs = [world.foreign("without", plain), world.foreign("with", OTHERS, plain)]
    changed = world.changed(QWEN3_MODELS, NAME)
    changed["spec"] |= {"revision": "v2"}
    changed["metadata"]["generation"] += 1
    await world.reconcile(QWEN3_MODELS, NAME)
    assert world.job(name) is None
    assert [world.job(job["metadata"]["name"]) for job in theirs] == theirs


@pytest.mark.parametrize("how", ["Complete", "Failed"])
async def test_a_folder_that_somebody_else_frees_is_not_gone(world: Model, how: str) -> None:
    name = await world.supersedes()
    theirs = world.foreign(name, **ended(how))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert [it["path"] for it in world.live["status"]["superseded"]] == ["before"]
    said = world.status(QWEN3_MODELS, NAME)
    assert said["Ready"][0] == "True", "the copy is in place"
    assert f"Job {name} is there already and not ours" in said["Accepted"][2]
    assert world.job(name) == theirs


async def test_a_compile_cache_that_has_the_name_of_a_model_is_not_held_with_it(world: Model) -> None:
    """Under Delete users hold the claim of their model; this one is another Qwen3Deployment's alone."""
    cache = f"{SERVED}-compile-cache"
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).engine(compileCache={"enabled": True}))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    before = copy.deepcopy(world.cluster.objects[CLAIMS.kind, NAMESPACE, cache])
    world.apply(QWEN3_MODELS, Q3m(cache).set(id="Qwen/Qwen3-8B", storage={"retentionPolicy": "Delete"}))
    user = Q3d("other").set(modelRef={"name": cache})
    del user.spec["model"]
    world.apply(QWEN3_DEPLOYMENTS, user)
    await world.reconcile(QWEN3_MODELS, cache)
    await world.reconcile(QWEN3_DEPLOYMENTS, "other", 2)
    assert world.cluster.objects[CLAIMS.kind, NAMESPACE, cache] == before
    assert world.status(QWEN3_MODELS, cache)["Accepted"][:2] == ("False", "NameTaken")
    assert "NameTaken" in world.status(QWEN3_DEPLOYMENTS, "other")["ModelReady"]

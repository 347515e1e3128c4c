"""Edits of a Qwen3Batch while its Job is there."""

from __future__ import annotations

import copy

import pytest
from tests.unit.reconcile.batch_world import EDITS, LARGE, NAME, SMALL, Object, World, of_earlier_release, reported

from qwen3_operator.api.source import ModelSource
from qwen3_operator.desired.batch import NO_DEADLINE
from qwen3_operator.naming import model_name

REACH_A_POD = {"engine", "model", "podTemplatePatch", "verify"}


@pytest.mark.parametrize("edit", [e for e in EDITS if not REACH_A_POD & set(e)], ids=str)
async def test_what_does_not_reach_a_pod_does_not_kill_a_running_job(world: World, edit: Object) -> None:
    job = await world.running(completions=2, parallelism=2, activeDeadlineSeconds=50)
    template = copy.deepcopy(job["spec"]["template"])
    world.edit(**edit)
    status = await world.reconcile()
    live = world.job()
    assert live["metadata"]["uid"] == job["metadata"]["uid"] and live["spec"]["template"] == template
    for field in set(edit) & {"ttlSecondsAfterFinished", "activeDeadlineSeconds", "parallelism", "suspend"}:
        assert live["spec"][field] == edit[field]
    if "backoffLimit" in edit:
        assert live["spec"]["backoffLimitPerIndex"] == 6
        assert "keeps the backoffLimit 6" in reported(status, "Accepted")[2]
    assert reported(status, "Accepted")[0] == "True"
    world.cluster.writes.clear()
    await world.reconcile()
    assert world.cluster.writes == []


async def test_the_same_patch_written_as_text_is_no_other_job(world: World) -> None:
    """An earlier CRD stored an object, and this one takes text alone."""
    job = await world.running(podTemplatePatch={"metadata": {"labels": {"a": "b"}}})
    of_earlier_release(job)
    await world.reconcile()
    world.edit(podTemplatePatch="metadata:\n  labels: {a: b}\n")
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    world.edit(podTemplatePatch="metadata:\n  labels: {a: c}\n")
    await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]


async def test_a_deadline_is_taken_away(world: World) -> None:
    await world.running(activeDeadlineSeconds=50)
    world.edit(activeDeadlineSeconds=None)
    await world.reconcile()
    assert world.job()["spec"]["activeDeadlineSeconds"] == NO_DEADLINE


async def test_another_engine_makes_another_job_and_the_one_before_runs_until_then(world: World) -> None:
    job = await world.running()
    large = model_name(ModelSource(id=LARGE))
    world.edit(model={"id": LARGE, "revision": "master"})
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert status["model"]["name"] == model_name(ModelSource(id=SMALL)), "of the Job that runs"
    assert f"goes on until Qwen3Model {large}" in reported(status, "Accepted")[2]
    assert world.models() == {model_name(ModelSource(id=SMALL)): [NAME], large: [NAME]}
    world.ready(LARGE)
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]
    assert status["model"]["name"] == large and world.models() == {large: [NAME]}


async def test_a_refused_edit_leaves_the_job_and_says_so(world: World) -> None:
    job = await world.running()
    world.edit(engine={"extraArgs": ["--nonsense"]})
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert reported(status, "Accepted")[0] == "False"
    assert f"Job {job['metadata']['name']} goes on meanwhile" in reported(status, "Accepted")[2]
    world.edit(suspend=True)
    await world.reconcile()
    assert world.job()["spec"]["suspend"] is True, "it can be stopped all the same"
    world.end(world.job())
    status = await world.reconcile()
    assert reported(status, "Ready")[:2] == ("True", "Completed"), "its result is not lost"


async def test_an_unreadable_spec_keeps_what_runs(world: World) -> None:
    job = await world.running()
    before = copy.deepcopy(world.batch()["status"])
    world.edit(preflight="Perhaps")
    status = await world.reconcile()
    assert reported(status, "Accepted")[:2] == ("False", "InvalidSpec")
    assert [status[key] for key in ("model", "engine", "plan", "job")] == [
        before[key] for key in ("model", "engine", "plan", "job")
    ]
    world.end(job)
    assert reported(await world.reconcile(), "Ready")[:2] == ("True", "Completed")


async def test_a_batch_that_moves_before_its_job_is_there_releases_the_model_before(world: World) -> None:
    world.apply()
    await world.reconcile()
    world.edit(model={"id": LARGE, "revision": "master"})
    await world.reconcile()
    assert world.models() == {model_name(ModelSource(id=LARGE)): [NAME]}

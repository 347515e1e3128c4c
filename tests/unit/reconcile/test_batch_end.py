"""The end of a Qwen3Batch: terminal is terminal, and nothing that is finished is lost."""

from __future__ import annotations

import copy

import pytest
from tests.unit.reconcile.batch_world import EDITS, NS, SMALL, Object, World, deployment, told

from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.kinds import JOBS, PODS
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, model_name, owner_reference


@pytest.mark.parametrize("how", ["Complete", "Failed"])
@pytest.mark.parametrize("gone", [False, True], ids=["with its Job", "without its Job"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: next(iter(edit)))
async def test_a_batch_that_has_ended_never_runs_again(world: World, edit: Object, gone: bool, how: str) -> None:
    job = await world.running()
    before = copy.deepcopy(await world.ended(job, how))
    if gone:
        world.remove(JOBS, job["metadata"]["name"])
    world.edit(**edit)
    world.restart()
    status = await world.reconcile()
    assert [j["metadata"]["uid"] for j in world.jobs()] == ([] if gone else [job["metadata"]["uid"]])
    same = ("job", "model", "engine", "plan", "requests", "output")
    assert [status.get(key) for key in same] == [before.get(key) for key in same]
    for type in ("ModelReady", "Completed", "Ready", "Stalled"):
        assert told(status, type) == told(before, type)
    assert status["observedGeneration"] == 2
    assert "the batch has ended" in told(status, "Accepted")[2]
    assert world.models() == {}


async def test_an_edit_just_before_the_end_comes_too_late(world: World) -> None:
    job = await world.running()
    world.end(job)
    world.edit(engine={"maxNumSeqs": 4})
    status = await world.reconcile()
    assert status["job"] == {"name": job["metadata"]["name"], "result": "Complete"} | {
        "startedAt": "2026-01-01T11:00:00Z",
        "finishedAt": "2026-01-01T12:00:00Z",
    }
    assert told(status, "Ready")[0] == "True"
    assert "edited too late" in told(status, "Accepted")[2]
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_the_ttl_of_a_finished_job_is_changed(world: World) -> None:
    job = await world.running()
    world.end(job)
    await world.reconcile()
    world.edit(ttlSecondsAfterFinished=60)
    await world.reconcile()
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == 60
    world.cluster.writes.clear()
    await world.reconcile()
    assert world.cluster.writes == []


async def test_a_finished_batch_holds_nothing(world: World) -> None:
    job = await world.running()
    name = model_name(ModelSource(id=SMALL))
    deployment(world, SMALL)
    holder = owner_reference("Qwen3Deployment", QWEN3_DEPLOYMENTS.api_version, "chat", "uid-of-chat", controller=False)
    world.cluster.of(QWEN3_MODELS)[0]["metadata"]["ownerReferences"].append(holder)
    world.end(job)
    status = await world.reconcile()
    assert world.models() == {name: ["chat"]}
    assert status["model"]["name"] == name, "the status still says what answered"
    assert world.users.of(NS, name) == []


async def test_what_is_finished_of_a_job_that_failed_is_delivered(world: World) -> None:
    job = await world.running()
    world.end(job, "Failed")
    job["status"]["conditions"][0]["reason"] = "DeadlineExceeded"
    status = await world.reconcile()
    delivery = world.delivery()
    args = delivery["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[2:] == ["batch_expired", "spec.activeDeadlineSeconds were over before it was answered"]
    assert (status["job"]["result"], status["job"]["delivery"]) == ("Failed", "Running")
    assert "is being delivered by Job" in told(status, "Completed")[2]
    assert world.job()["spec"]["ttlSecondsAfterFinished"] >= 86400, "the parts' Job stays until they are delivered"
    delivery["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    status = await world.reconcile()
    assert (status["job"]["delivery"], status["output"]) == ("Complete", "answers:out.jsonl")
    state, reason, words = told(status, "Completed")
    assert (state, reason) == ("False", "DeadlineExceeded")
    assert "What is finished is delivered, with an error line for each line that is not" in words


async def test_a_batch_whose_delivery_was_deleted_does_not_run_again(world: World) -> None:
    job = await world.running()
    world.end(job, "Failed")
    await world.reconcile()
    world.remove(JOBS, world.delivery()["metadata"]["name"])
    world.remove(JOBS, job["metadata"]["name"])
    status = await world.reconcile()
    assert status["job"]["delivery"] == "Failed"
    assert world.jobs() == []


def full(world: World, job: Object) -> None:
    """The Job has failed for its output's volume."""
    world.pod(job, report={"result": "Failed", "reason": "OutputFull", "message": "the volume is full"})
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}


async def test_a_batch_goes_on_when_the_claim_of_its_output_has_grown(world: World) -> None:
    claim = world.cluster.objects["PersistentVolumeClaim", NS, "answers"]
    claim["status"] = {"capacity": {"storage": "1Gi"}}
    job = await world.running()
    full(world, job)
    status = await world.reconcile()
    assert (status["outputCapacity"], "result" in status["job"]) == ("1Gi", False)
    assert "It goes on once the claim of the output is larger than 1Gi" in told(status, "Completed")[2]
    assert told(status, "Stalled")[0] == "True"
    assert len(world.jobs()) == 1 and len(world.cluster.of(JOBS)) == 1, "into a full volume nothing is delivered"
    claim["status"] = {"capacity": {"storage": "2Gi"}}
    for pod in world.cluster.of(PODS):
        world.remove(PODS, pod["metadata"]["name"])
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]
    assert "outputCapacity" not in status


async def test_wrong_input_delivers_nothing(world: World) -> None:
    job = await world.running()
    world.pod(job, report={"result": "Failed", "reason": "InputEmpty", "message": "the input is empty"})
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}
    status = await world.reconcile()
    assert (status["job"]["result"], status["job"].get("delivery")) == ("Failed", None)
    assert world.cluster.of(JOBS) == [job]

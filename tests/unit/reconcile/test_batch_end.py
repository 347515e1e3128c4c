"""The end of a Qwen3Batch: terminal is terminal, and nothing that is finished is lost."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.unit.reconcile.batch_world import EDITS, NS, SMALL, Object, World, deployment, reported

from qwen3_in_engine.batch_runner.contract import Stop
from qwen3_in_engine.batch_runner.report import failure as runners_words
from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import EVENTS, JOBS, PODS, Kind
from qwen3_operator.desired.batch import NO_DEADLINE
from qwen3_operator.desired.batch_outcome import ANNOTATION as OUTCOME
from qwen3_operator.desired.batch_outcome import BatchOutcome, outcome_on
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, model_name, owner_reference
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS


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
        assert reported(status, type) == reported(before, type)
    assert status["observedGeneration"] == 2
    assert "the batch has ended" in reported(status, "Accepted")[2]
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
    assert reported(status, "Ready")[0] == "True"
    assert "edited too late" in reported(status, "Accepted")[2]
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
    assert "is being delivered by Job" in reported(status, "Completed")[2]
    delivery["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    waits = reported(await world.reconcile(), "Completed")[2]
    assert f"waits for a pod of Job {delivery['metadata']['name']}: its Events say" in waits
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == NO_DEADLINE, (
        "the parts' Job stays until they are delivered"
    )
    delivery["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    status = await world.reconcile()
    assert (status["job"]["delivery"], status["output"]) == ("Complete", "answers:out.jsonl")
    state, reason, words = reported(status, "Completed")
    assert (state, reason) == ("False", "DeadlineExceeded")
    assert "What is finished is delivered, with an error line for each line that is not" in words


async def test_the_delivery_runs_where_the_batch_may_and_says_why_it_does_not(world: World) -> None:
    """A volume may be on one node alone."""
    where = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}], "nodeSelector": {"pool": "gpu"}}
    job = await world.running(scheduling=where)
    world.end(job, "Failed")
    await world.reconcile()
    found = world.delivery()["spec"]["template"]["spec"]
    assert {field: found[field] for field in where} == where
    pod = world.pod(world.delivery())
    words = "0/2 nodes are available: 2 node(s) had volume node affinity conflict."
    no_node = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    pod["status"] = {"phase": "Pending", "conditions": [no_node]}
    status = await world.reconcile()
    assert reported(status, "Scheduled")[0] == "False" and world.wait == TROUBLE_SECONDS
    assert (
        reported(status, "Completed")[1] == "EngineDied" and pod["metadata"]["name"] in reported(status, "Completed")[2]
    )
    assert status["job"]["delivery"] == "Running"


async def test_a_quota_that_takes_no_delivery_is_named(world: World) -> None:
    job = await world.running()
    world.end(job, "Failed")
    await world.reconcile()
    delivery = world.delivery()
    delivery["status"] = {"startTime": "2026-01-01T12:00:00Z"}
    note = 'Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=4, limited: cpu=4'
    about = {"name": "e", "namespace": NS}
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "note": note,
        "regarding": {"uid": delivery["metadata"]["uid"]},
    }
    world.cluster.put(EVENTS, {"metadata": about} | event)
    status = await world.reconcile()
    assert "raise the quota" in reported(status, "Completed")[2] and world.wait is not None


async def test_an_output_that_a_patch_put_elsewhere_may_be_full(world: World) -> None:
    patch = "spec:\n  volumes:\n  - name: output\n    persistentVolumeClaim: null\n    hostPath: {path: /data}\n"
    job = await world.running(podTemplatePatch=patch)
    full(world, job)
    status = await world.reconcile()
    assert reported(status, "Completed")[1] == reported(status, "Stalled")[1] == "OutputFull"
    assert status["job"]["result"] == "Failed" and "outputCapacity" not in status, "nobody sees it grow"


async def test_what_is_on_a_volume_of_a_patch_is_delivered_from_there(world: World) -> None:
    patch = """
      spec:
        securityContext: null
        volumes: [{name: output, $patch: delete}, {name: mine, hostPath: {path: /data}}]
        containers: [{name: vllm, volumeMounts: [{name: mine, mountPath: /batch/output}]}]
    """
    job = await world.running(podTemplatePatch=patch)
    world.end(job, "Failed")
    await world.reconcile()
    pod = world.delivery()["spec"]["template"]["spec"]
    assert {"name": "mine", "hostPath": {"path": "/data"}} in pod["volumes"]
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


async def test_a_batch_whose_delivery_was_deleted_does_not_run_again(world: World) -> None:
    job = await world.running()
    world.end(job, "Failed")
    await world.reconcile()
    world.remove(JOBS, world.delivery()["metadata"]["name"])
    world.remove(JOBS, job["metadata"]["name"])
    status = await world.reconcile()
    assert status["job"]["delivery"] == "Failed"
    assert world.jobs() == []


async def crash(world: World) -> None:
    """Reconcile once; the status cannot be written, and the operator is started again."""
    apply = world.cluster.apply

    async def refuses(kind: Kind, obj: Object, **more: Any) -> Object:
        if more.get("subresource"):
            raise ApiError(500, "InternalError", "away")
        return await apply(kind, obj, **more)

    world.cluster.apply = refuses  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        await world.reconcile_once()
    world.cluster.apply = apply  # type: ignore[method-assign]
    world.restart()


async def test_the_job_is_there_until_the_delivery_is_in_the_status(world: World) -> None:
    job = await world.running(ttlSecondsAfterFinished=60)
    world.end(job, "Failed")
    await world.reconcile()
    world.delivery()["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    await crash(world)
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == NO_DEADLINE
    status = await world.reconcile()
    assert (status["job"]["delivery"], status["output"]) == ("Complete", "answers:out.jsonl")
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == 60


async def test_the_job_is_there_until_its_result_is_in_the_status(world: World) -> None:
    job = await world.running(ttlSecondsAfterFinished=86400)
    world.end(job)
    world.edit(ttlSecondsAfterFinished=60)
    await crash(world)
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == 86400
    await world.reconcile_once()
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == 60


async def test_a_spec_that_cannot_be_read_does_not_end_the_delivery(world: World) -> None:
    job = await world.running(ttlSecondsAfterFinished=60)
    world.end(job, "Failed")
    world.batch()["spec"]["completions"] = "many"
    status = await world.reconcile()
    assert status["job"]["delivery"] == "Running"
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == NO_DEADLINE


def full(world: World, job: Object) -> None:
    """The Job has failed for its output's volume, and a line is finished."""
    words = {"result": "Failed", "reason": "OutputFull", "message": "the volume is full", "done": 3, "total": 5}
    world.pod(job, report=words)
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}


async def test_a_batch_goes_on_when_the_claim_of_its_output_has_grown(world: World) -> None:
    claim = world.cluster.objects["PersistentVolumeClaim", NS, "answers"]
    claim["status"] = {"capacity": {"storage": "1Gi"}}
    job = await world.running()
    full(world, job)
    status = await world.reconcile()
    assert (status["outputCapacity"], "result" in status["job"]) == ("1Gi", False)
    assert "It goes on once the claim of the output is larger than 1Gi" in reported(status, "Completed")[2]
    assert reported(status, "Stalled")[0] == "True"
    assert len(world.jobs()) == 1 and len(world.cluster.of(JOBS)) == 1, "into a full volume nothing is delivered"
    claim["status"] = {"capacity": {"storage": "2Gi"}}
    for pod in world.cluster.of(PODS):
        world.remove(PODS, pod["metadata"]["name"])
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]
    assert "outputCapacity" not in status


async def test_a_batch_that_waits_for_room_waits_until_it_is_there(world: World) -> None:
    world.cluster.objects["PersistentVolumeClaim", NS, "answers"]["status"] = {"capacity": {"storage": "1Gi"}}
    job = await world.running()
    full(world, job)
    await world.reconcile()
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == NO_DEADLINE
    world.edit(engine={"maxNumSeqs": 4})
    assert "has ended" not in reported(await world.reconcile(), "Accepted")[2], "the next Job has it"


async def test_a_job_that_found_no_room_is_there_until_the_next_can_be_made(world: World) -> None:
    claim = world.cluster.objects["PersistentVolumeClaim", NS, "answers"]
    claim["status"] = {"capacity": {"storage": "1Gi"}}
    job = await world.running()
    full(world, job)
    await world.reconcile()
    claim["status"] = {"capacity": {"storage": "2Gi"}}
    model = world.cluster.of(QWEN3_MODELS)[0]
    ready = model.pop("status")
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert reported(status, "ModelReady")[0] != "True" and reported(status, "Stalled")[0] == "False"
    lost(world)
    model["status"] = ready
    await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]
    world.job()["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    assert (await world.reconcile())["job"]["delivery"] == "Running", "it knows what was answered"


@pytest.mark.parametrize("reason", ["InputEmpty", "AnswersWrong"])
async def test_where_no_line_was_answered_nothing_is_delivered(world: World, reason: str) -> None:
    job = await world.running()
    world.pod(job, report={"result": "Failed", "reason": reason, "message": "see there"})
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}
    status = await world.reconcile()
    assert (status["job"]["result"], status["job"].get("delivery")) == ("Failed", None)
    assert reported(status, "Completed")[1] == reported(status, "Stalled")[1] == reason
    assert world.cluster.of(JOBS) == [job]


async def test_what_another_shard_has_answered_is_delivered_where_one_is_wrong(world: World) -> None:
    job = await world.running()
    world.pod(job, report={"result": "Failed", "reason": "Terminated", "message": "x", "done": 3, "total": 5})
    world.pod(job, report={"result": "Failed", "reason": "AnswersWrong", "message": "the parser"})
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}
    status = await world.reconcile()
    assert (reported(status, "Completed")[1], status["job"]["delivery"]) == ("AnswersWrong", "Running")
    container = world.delivery()["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][2] == "shard_given_up" and "AnswersWrong" in container["args"][3]


def lost(world: World) -> None:
    """The status is wiped, as by a restore without it, and the pods are gone."""
    world.batch().pop("status")
    for pod in world.cluster.of(PODS):
        world.remove(PODS, pod["metadata"]["name"])
    world.restart()


async def test_how_a_batch_ended_is_read_from_its_job(world: World) -> None:
    job = await world.running()
    before = copy.deepcopy(await world.ended(job))
    lost(world)
    status = await world.reconcile()
    assert (status["job"], status["output"]) == (before["job"], before["output"])
    assert reported(status, "Ready")[:2] == ("True", "Completed")
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.models() == {}


async def test_what_is_finished_is_delivered_though_nobody_remembers_it(world: World) -> None:
    """Lines were answered before the pods were killed without a word, and the status that said so is gone."""
    job = await world.running()
    pod = world.pod(job)
    progress = {"event": "progress", "total": 5, "lines": 5, "done": 2, "failed": 0}
    world.cluster.pod_logs[pod["metadata"]["name"]] = json.dumps(progress)
    await world.reconcile()
    lost(world)
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    status = await world.reconcile()
    assert status["job"]["delivery"] == "Running"
    world.batch()["status"].pop("requests", None)
    world.delivery()["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    status = await world.reconcile()
    assert (status["job"]["result"], status["output"]) == ("Failed", "answers:out.jsonl")


@pytest.mark.parametrize("counts", [{}, {"total": 5, "lines": 5, "done": 2, "failed": 0}], ids=["log", "words"])
@pytest.mark.parametrize("reason", ["RunnerFailed", "KeyRefused", "Terminated", "EngineStartFailed"])
async def test_what_is_finished_is_delivered_though_nobody_watched(world: World, reason: str, counts: Object) -> None:
    """All ended while the operator was away: what is finished stands in the runner's last words, or in its log."""
    job = await world.running()
    pod = world.pod(job, report=runners_words(0, Stop(1, reason, "see there"), counts))
    pod["status"]["phase"] = "Failed"
    if not counts:
        progress = {"event": "progress", "total": 5, "lines": 5, "done": 2, "failed": 0, "tokensPerSecond": 9}
        world.cluster.pod_logs[pod["metadata"]["name"]] = json.dumps(progress)
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    status = await world.reconcile()
    assert status["job"]["delivery"] == "Running"
    assert status["requests"] == {"total": 5, "done": 2, "failed": 0} and "tokensPerSecond" not in status


async def test_counts_that_a_hand_wrote_into_the_status_deliver_nothing(world: World) -> None:
    job = await world.running()
    world.batch()["status"]["requests"] = {"done": 5, "failed": 0, "total": 5}
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    status = await world.reconcile()
    assert (status["job"]["result"], status["job"].get("delivery")) == ("Failed", None)


@pytest.mark.parametrize("hand", ["wiped", "8Gi", "1Ki"])
async def test_the_size_of_a_claim_that_was_full_is_read_from_the_job(world: World, hand: str) -> None:
    claim = world.cluster.objects["PersistentVolumeClaim", NS, "answers"]
    claim["status"] = {"capacity": {"storage": "1Gi"}}
    job = await world.running()
    full(world, job)
    await world.reconcile()
    lost(world)
    if hand != "wiped":
        world.batch()["status"] = {"outputCapacity": hand}
    status = await world.reconcile()
    assert status["outputCapacity"] == "1Gi", "it waits, and has not ended"
    assert reported(status, "Completed")[1] == "OutputFull"
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    claim["status"] = {"capacity": {"storage": "2Gi"}}
    world.batch()["status"].pop("outputCapacity")
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]
    assert "outputCapacity" not in status


async def test_an_end_that_a_hand_wrote_into_the_status_ends_nothing(world: World) -> None:
    job = await world.running()
    name = job["metadata"]["name"]
    for recorded_by_hand in ({"name": name, "result": "Complete"}, {"name": name, "result": "Failed"}):
        world.batch()["status"]["job"] = recorded_by_hand
        status = await world.reconcile()
        assert "result" not in status["job"] and reported(status, "Ready")[0] == "False"
        assert world.models() != {}, "the model is held for the Job that runs"
    await world.ended(job)
    world.batch()["status"]["job"]["result"] = "Failed"
    assert (await world.reconcile())["job"]["result"] == "Complete"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"capacity": []}', '{"answered": "perhaps"}', "[" * 100_000])
def test_an_outcome_of_another_hand_counts_as_none(text: str) -> None:
    assert outcome_on({"metadata": {"annotations": {OUTCOME: text}}}) == BatchOutcome()


def test_an_outcome_has_room_on_a_job() -> None:
    outcome = BatchOutcome(answered=True, reason="EngineDied", message="x" * 1_000_000, capacity="1Gi")
    assert len(outcome.written()) < 5000
    assert outcome_on({"metadata": {"annotations": {OUTCOME: outcome.written()}}}).capacity == "1Gi"


@pytest.mark.parametrize("owned", [False, True], ids=["no owner", "another owner"])
async def test_a_delivery_of_somebody_else_is_not_believed_and_the_own_one_comes_later(
    world: World, owned: bool
) -> None:
    job = await world.running()
    world.end(job, "Failed")
    owners = [owner_reference("CronJob", "batch/v1", "backup", "another", controller=True)] if owned else []
    name = f"{job['metadata']['name']}-deliver"
    meta = {"namespace": NS, "name": name, "labels": job["metadata"]["labels"], "ownerReferences": owners}
    over = {"conditions": [{"type": "Complete", "status": "True"}]}
    theirs = copy.deepcopy(world.cluster.put(JOBS, {"metadata": meta, "spec": {"template": {}}, "status": over}))
    status = await world.reconcile()
    assert reported(status, "Accepted")[:2] == ("False", "NameTaken")
    assert "as soon as a Job for that can be made" in reported(status, "Completed")[2]
    assert (status["job"]["delivery"], "output" in status) == ("Waiting", False)
    assert world.delivery() == theirs and world.wait is not None
    assert world.models() != {}, "the batch is not over"
    world.remove(JOBS, name)
    status = await world.reconcile()
    assert (reported(status, "Accepted")[0], status["job"]["delivery"]) == ("True", "Running")
    world.delivery()["status"] = over
    assert (await world.reconcile())["job"]["delivery"] == "Complete"

"""Reconciling a Qwen3Batch against an API server in memory: what a Job was made from holds as long as it is there."""

from __future__ import annotations

import copy
import json
from datetime import timedelta

import pytest
from tests.unit.reconcile.batch_world import LARGE, NAME, NS, SMALL, Object, World, deployment, lent, reported

from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.kinds import CONFIG_MAPS, EVENTS, JOBS
from qwen3_operator.desired.batch import job_name
from qwen3_operator.desired.batch_record import ANNOTATION, MOST_BYTES, BatchRecord, record_of
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, model_name
from qwen3_operator.reconcile.batch import LOG_BYTES, LOGS_A_RECONCILE


async def test_the_job_says_what_it_was_made_from(world: World) -> None:
    job = await world.running()
    status = world.batch()["status"]
    made = json.loads(job["metadata"]["annotations"][ANNOTATION])
    assert (made["model"], made["engine"], made["plan"]) == (status["model"], status["engine"], status["plan"])
    assert made["model"]["commit"] == "c0ffee" and made["generation"] == 1
    assert {value["field"] for value in made["plan"]} >= {"maxModelLen", "thinking"}
    assert ANNOTATION not in job["spec"]["template"]["metadata"]["annotations"]


async def test_at_rest_nothing_is_written_and_nothing_of_others_is_read(world: World) -> None:
    job = await world.running()
    world.pod(job)
    await world.reconcile()
    world.cluster.writes.clear()
    world.cluster.reads.clear()
    await world.reconcile_once()
    assert world.cluster.writes == []
    assert world.cluster.reads == {}, "all of it is watched"


@pytest.mark.parametrize("what", ["deleted", "moved", "edited"])
async def test_a_deployment_that_moves_or_goes_changes_nothing(world: World, what: str) -> None:
    job = copy.deepcopy(await lent(world))
    before = copy.deepcopy(world.batch()["status"])
    small = model_name(ModelSource(id=SMALL))
    if what == "deleted":
        world.remove(QWEN3_DEPLOYMENTS, "chat")
    else:
        deployment(world, LARGE if what == "moved" else SMALL, maxModelLen=2048)
    world.restart()
    assert await world.reconcile() == before
    assert world.job() == job
    assert world.models() == {small: [NAME]}, "no other model is held"
    world.end(world.job())
    status = await world.reconcile()
    assert reported(status, "Ready")[:2] == ("True", "Completed")
    assert (status["model"]["name"], status["job"]["result"]) == (small, "Complete")
    world.remove(JOBS, job["metadata"]["name"])
    assert await world.reconcile() == status, "the TTL takes the Job, not the result"


@pytest.mark.parametrize("forger", ["", "another-job"], ids=["no owner", "another owner"])
async def test_only_pods_of_the_job_are_believed(world: World, forger: str) -> None:
    job = await world.running(completions=2, parallelism=2)
    world.pod(job)
    forged = {"result": "Complete", "total": 9, "lines": 9, "done": 9, "failed": 0, "merged": True}
    name = world.pod(job, index=1, owner=forger)["metadata"]["name"]
    world.cluster.pod_logs[name] = json.dumps({"event": "progress"} | forged)
    world.pod(job, owner=forger, report=forged)
    status = await world.reconcile()
    assert "requests" not in status and "shards" not in status
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    status = await world.reconcile()
    assert reported(status, "Completed")[:2] == ("False", "NotMerged")


async def test_a_job_of_somebody_else_is_neither_believed_nor_removed(world: World) -> None:
    batch = world.apply()
    name = job_name(NAME, batch["metadata"]["uid"], Qwen3BatchSpec.model_validate(batch["spec"]))
    labels = {"app.kubernetes.io/managed-by": "qwen3-operator", "serving.qwen3.dev/batch": NAME}
    foreign = {
        "metadata": {"namespace": NS, "name": name, "labels": labels},
        "spec": {},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    kept = copy.deepcopy(world.cluster.put(JOBS, foreign))
    await world.reconcile()
    world.ready()
    status = await world.reconcile()
    assert reported(status, "Accepted")[:2] == ("False", "NameTaken")
    assert world.job() == kept and "job" not in status


async def test_a_job_whose_labels_were_taken_away_is_found_and_labelled_again(world: World) -> None:
    job = await world.running()
    before = job["metadata"].pop("labels")
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.job()["metadata"]["labels"] == before


async def test_a_job_that_goes_is_waited_for(world: World) -> None:
    job = await world.running()
    job["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.wait is not None
    world.remove(JOBS, job["metadata"]["name"])
    await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"]


async def test_logs_are_read_in_turns_and_only_their_end(world: World) -> None:
    """Attack 19: 256 shards, each with lines of 256 KiB."""
    job = await world.running(completions=256, parallelism=256)
    counts = {"event": "progress", "total": 5, "lines": 1280, "done": 1, "failed": 0}
    for index in range(256):
        name = world.pod(job, index)["metadata"]["name"]
        world.cluster.pod_logs[name] = "x" * (LOG_BYTES if index % 2 else 1) + "\n" + json.dumps(counts)
    seen: set[str] = set()
    for _ in range(8):
        world.cluster.logs_read.clear()
        wait = await world.reconcile_once()
        read = world.cluster.logs_read
        assert len(read) <= LOGS_A_RECONCILE and {limit for _, limit in read} == {LOG_BYTES}
        assert wait == PROGRESS_SECONDS
        seen |= {name for name, _ in read}
        world.now += timedelta(seconds=PROGRESS_SECONDS)
    assert len(seen) == 256, "every shard has its turn"
    assert world.batch()["status"]["requests"] == {"done": 128, "failed": 0, "total": 1280}


async def test_of_two_batches_with_one_output_the_first_has_it(world: World) -> None:
    world.apply("first")
    world.apply("second", output={"claim": {"name": "answers", "path": "./out.jsonl"}})
    await world.reconcile("first")
    status = await world.reconcile("second")
    assert reported(status, "Accepted")[:2] == ("False", "OutputInUse")
    assert "Qwen3Batch first" in reported(status, "Accepted")[2]
    assert reported(world.batch("first")["status"], "Accepted")[0] == "True"


def test_a_record_too_long_for_an_annotation_leaves_out_what_the_status_has() -> None:
    made = BatchRecord(1, "inputs", {"name": "weights"}, {"command": ["x" * 8000] * 100}, [{"field": "a"}])
    assert len(made.written()) <= MOST_BYTES
    job = {"metadata": {"annotations": {ANNOTATION: made.written()}}}
    assert record_of(job) == BatchRecord(1, "inputs", {"name": "weights"}, {}, [{"field": "a"}], {}, [])


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model": []}', '{"generation": "x"}', "[" * 100_000])
def test_a_record_of_another_hand_counts_as_none(text: str) -> None:
    assert record_of({"metadata": {"annotations": {ANNOTATION: text}}}) is None


def no_volumes(world: World, job: Object) -> None:
    """The next pod of a Job waits for a ConfigMap, which somebody has deleted."""
    pod = world.pod(job)
    state = {"waiting": {"reason": "ContainerCreating"}}
    pod["status"] |= {"phase": "Pending", "containerStatuses": [{"name": "vllm", "state": state}]}
    note = 'MountVolume.SetUp failed for volume "runner" : configmap "nightly-batch" not found'
    event = {"type": "Warning", "reason": "FailedMount", "note": note, "regarding": {"uid": pod["metadata"]["uid"]}}
    world.cluster.put(EVENTS, {"metadata": {"name": "e", "namespace": NS}} | event)


@pytest.mark.parametrize("delivers", [False, True], ids=["runs", "delivers"])
async def test_the_config_map_of_a_job_is_made_again_for_the_next_pod(world: World, delivers: bool) -> None:
    job = await world.running()
    (found,) = copy.deepcopy(world.cluster.of(CONFIG_MAPS))
    if delivers:
        world.end(job, "Failed")
        await world.reconcile()
    world.remove(CONFIG_MAPS, found["metadata"]["name"])
    no_volumes(world, world.delivery() if delivers else job)
    status = await world.reconcile()
    (again,) = world.cluster.of(CONFIG_MAPS)
    assert (again["metadata"]["name"], again["data"]) == (found["metadata"]["name"], found["data"])
    assert reported(status, "Accepted")[0] == "True" and world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_config_map_that_cannot_be_made_again_is_named(world: World) -> None:
    """What the Qwen3Deployment lends is something else by now."""
    job = await lent(world)
    deployment(world, SMALL, maxModelLen=2048)
    (found,) = world.cluster.of(CONFIG_MAPS)
    world.remove(CONFIG_MAPS, found["metadata"]["name"])
    no_volumes(world, job)
    status = await world.reconcile()
    assert reported(status, "Accepted")[:2] == ("False", "ConfigMapNotFound")
    assert found["metadata"]["name"] in reported(status, "Accepted")[2]
    assert "delete the Job" in reported(status, "Accepted")[2] and world.wait is not None
    world.remove(JOBS, job["metadata"]["name"])
    assert reported(await world.reconcile(), "Accepted")[0] == "True"
    assert len(world.jobs()) == 1

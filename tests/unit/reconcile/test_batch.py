"""Reconciling a Qwen3Batch against an API server in memory: what a Job was made from holds as long as it is there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests.unit.memory_cluster import MemoryCluster

from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS
from qwen3_operator.api.batch import Qwen3BatchSpec, Qwen3BatchStatus
from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import CLAIMS, JOBS, NODES, PODS
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.batch import NO_DEADLINE, job_name
from qwen3_operator.desired.batch_record import ANNOTATION, MOST_BYTES, BatchRecord, record_of
from qwen3_operator.naming import (
    QWEN3_BATCHES,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    batch_labels,
    model_name,
    model_path,
    owner_reference,
)
from qwen3_operator.reconcile import Context, Key, reconcile_batch
from qwen3_operator.reconcile.batch import LOG_BYTES, LOGS_A_RECONCILE
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

NS, NAME = "team", "nightly"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
SMALL, LARGE = "Qwen/Qwen3-8B", "Qwen/Qwen3-14B"
Object = dict[str, Any]


class World:
    """A namespace with one batch, or more."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.now = NOW
        self.settings = Settings(engine_image="vllm/vllm-openai:v0.33.0", identity="test")
        self.restart()
        labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
        node = {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
        self.cluster.put(NODES, node)
        self.cluster.put(CLAIMS, {"metadata": {"namespace": NS, "name": "answers"}, "spec": {}})

    def restart(self, **settings: Any) -> None:
        """Another process of the operator, with other settings perhaps."""
        self.settings = self.settings.model_copy(update=settings)
        self.users = ModelUsers()

    async def reconcile_once(self, name: str = NAME) -> float | None:
        """Reconcile when the watches have shown everything."""
        client, store = cast(Cluster, self.cluster), Store(WATCHED)
        nodes = Nodes(store)
        self.cluster.show(store)
        context = Context(
            client, store, self.settings, Recorder(client, "test"), nodes, self.users, now=lambda: self.now
        )
        return await reconcile_batch(context, Key("Qwen3Batch", NS, name))

    def apply(self, name: str = NAME, **spec: Any) -> Object:
        """Make a batch."""
        base: Object = {
            "model": {"id": SMALL, "revision": "master", "download": {}, "storage": {"retentionPolicy": "Retain"}},
            "input": {"prompts": ["hello"]},
            "output": {"claim": {"name": "answers", "path": "out.jsonl"}},
        }
        merged = {key: value for key, value in (base | spec).items() if value is not None}
        return self.cluster.put(QWEN3_BATCHES, {"metadata": {"namespace": NS, "name": name}, "spec": merged})

    def edit(self, **spec: Any) -> None:
        """Edit the batch's spec."""
        batch = self.batch()
        batch["spec"] = {key: value for key, value in (batch["spec"] | spec).items() if value is not None}
        batch["metadata"]["generation"] += 1

    def batch(self, name: str = NAME) -> Object:
        """The batch as it is kept."""
        return self.cluster.objects["Qwen3Batch", NS, name]

    def models(self) -> dict[str, list[str]]:
        """Name of each model -> names of its holders."""
        found = self.cluster.of(QWEN3_MODELS)
        return {
            m["metadata"]["name"]: [owner["name"] for owner in m["metadata"].get("ownerReferences", [])] for m in found
        }

    def ready(self, model: str = SMALL, commit: str = "c0ffee") -> str:
        """The model's download has ended. Returns its name."""
        name = model_name(ModelSource(id=model))
        kept = self.cluster.objects["Qwen3Model", NS, name]
        claim = {"metadata": {"namespace": NS, "name": name, "uid": f"uid-of-{name}"}, "spec": {}}
        self.cluster.objects.get(("PersistentVolumeClaim", NS, name)) or self.cluster.put(CLAIMS, claim)
        kept["status"] = {
            "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "in place"}],
            "model": {
                "commit": commit,
                "revision": "master",
                "claim": name,
                "claimUid": f"uid-of-{name}",
                "path": model_path(ModelSource(id=model)),
                "verifiedAt": "2026-01-01T00:00:00Z",
            },
        }
        return name

    async def reconcile(self, name: str = NAME) -> Object:
        """Reconcile until nothing is left to do at once; returns the status, which the schema takes."""
        for _ in range(4):
            before = len(self.cluster.writes)
            self.wait = await self.reconcile_once(name)
            if len(self.cluster.writes) == before:
                break
        status: Object = self.batch(name)["status"]
        Qwen3BatchStatus.model_validate(status)
        return status

    async def running(self, **spec: Any) -> Object:
        """A batch with its Job; returns the Job as it is kept."""
        self.apply(**spec)
        await self.reconcile()
        self.ready()
        await self.reconcile()
        return self.job()

    def job(self) -> Object:
        """The one Job."""
        (found,) = self.jobs()
        return found

    def jobs(self) -> list[Object]:
        """All Jobs but those that deliver."""
        return [job for job in self.cluster.of(JOBS) if not job["metadata"]["name"].endswith("-deliver")]

    def delivery(self) -> Object:
        """The Job that delivers."""
        (found,) = (job for job in self.cluster.of(JOBS) if job["metadata"]["name"].endswith("-deliver"))
        return found

    async def ended(self, job: Object, how: str = "Complete", delivery: str = "Complete") -> Object:
        """The Job ends, and what it finished is delivered; returns the status."""
        self.end(job, how)
        status = await self.reconcile()
        if how == "Failed":
            condition = {"type": delivery, "status": "True", "lastTransitionTime": "2026-01-01T12:01:00Z"}
            self.delivery()["status"] = {"conditions": [condition]}
            status = await self.reconcile()
        return status

    def pod(self, job: Object, index: int = 0, *, owner: str | None = None, report: Object | None = None) -> Object:
        """A pod of a shard: it runs, or has ended with a report. `owner`: uid of another controller; empty: none."""
        name = f"{job['metadata']['name']}-{index}-{len(self.cluster.of(PODS))}"
        uid = job["metadata"]["uid"] if owner is None else owner
        state: Object = {"running": {}}
        if report is not None:
            state = {"terminated": {"exitCode": 0, "message": json.dumps(report), "finishedAt": "2026-01-01T12:00:00Z"}}
        references = [owner_reference("Job", "batch/v1", job["metadata"]["name"], uid, controller=True)] if uid else []
        meta = {
            "namespace": NS,
            "name": name,
            "labels": batch_labels(NAME) | {"batch.kubernetes.io/job-name": job["metadata"]["name"]},
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            "ownerReferences": references,
        }
        status = {
            "phase": "Running" if report is None else "Succeeded",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "vllm", "state": state}],
        }
        return self.cluster.put(PODS, {"metadata": meta, "spec": {"containers": []}, "status": status})

    def end(self, job: Object, how: str = "Complete") -> None:
        """The Job ends, its pod with a report."""
        counts = {"total": 5, "lines": 5, "done": 5, "failed": 0, "promptTokens": 5, "completionTokens": 50}
        report = {"result": how, **counts, "merged": True} | (
            {} if how == "Complete" else {"reason": "EngineDied", "message": "vLLM's engine died"}
        )
        self.pod(job, report=report)
        condition = {"type": how, "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}
        job["status"] = {"startTime": "2026-01-01T11:00:00Z", "conditions": [condition]}

    def remove(self, kind: Any, name: str) -> None:
        """Another hand, or the TTL, deletes an object."""
        del self.cluster.objects[kind.kind, NS, name]


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


def told(status: Object, type: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(c for c in status["conditions"] if c["type"] == type)
    return found["status"], found["reason"], found["message"]


def deployment(world: World, model: str, **engine: Any) -> None:
    """The Qwen3Deployment `chat`, made or edited."""
    spec = {"model": {"id": model, "revision": "master"}, "engine": engine}
    world.cluster.put(QWEN3_DEPLOYMENTS, {"metadata": {"namespace": NS, "name": "chat"}, "spec": spec})


async def lent(world: World) -> Object:
    """A batch that runs on what the Qwen3Deployment `chat` lends it; returns the Job."""
    deployment(world, SMALL, maxModelLen=4096)
    return await world.running(model=None, deploymentRef={"name": "chat"})


async def test_the_name_of_the_job_is_that_of_the_release_before(world: World) -> None:
    """As release c4bbbf7 gave them to these specs."""
    plain = Qwen3BatchSpec.model_validate(world.apply()["spec"])
    assert job_name("nightly", "u", plain) == "nightly-1b299d00"
    more = {"engine": {"maxNumSeqs": 4}, "ttlSecondsAfterFinished": 60, "suspend": True, "parallelism": 1}
    edited = Qwen3BatchSpec.model_validate(world.batch()["spec"] | more)
    assert job_name("nightly", "u", edited) == "nightly-98cf794d"
    lent = {key: value for key, value in world.batch()["spec"].items() if key != "model"}
    referring = Qwen3BatchSpec.model_validate(lent | {"deploymentRef": {"name": "chat"}})
    assert job_name("nightly", "u", referring) == "nightly-a16232d1"


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
    assert told(status, "Ready")[:2] == ("True", "Completed")
    assert (status["model"]["name"], status["job"]["result"]) == (small, "Complete")
    world.remove(JOBS, job["metadata"]["name"])
    assert await world.reconcile() == status, "the TTL takes the Job, not the result"


EDITS: list[Object] = [
    {"ttlSecondsAfterFinished": 3600},
    {"preflight": "Off"},
    {"activeDeadlineSeconds": 100},
    {"backoffLimit": 1},
    {"parallelism": 1},
    {"suspend": True},
    {"engine": {"maxNumSeqs": 4}},
    {"model": {"id": LARGE}},
    {"podTemplatePatch": {"metadata": {"labels": {"a": "b"}}}},
]


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


@pytest.mark.parametrize("edit", [e for e in EDITS if not {"engine", "model", "podTemplatePatch"} & set(e)], ids=str)
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
        assert "keeps the backoffLimit 6" in told(status, "Accepted")[2]
    assert told(status, "Accepted")[0] == "True"
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


async def test_another_default_of_another_release_does_not_touch_a_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = copy.deepcopy(await world.running())
    world.restart(engine_image="vllm/vllm-openai:v0.99.0")
    monkeypatch.setattr("qwen3_operator.desired.batch_record.inputs_of", lambda spec: "another digest")
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.job()["spec"] == job["spec"]
    assert world.batch()["status"]["engine"]["image"] == "vllm/vllm-openai:v0.33.0"


async def test_another_engine_makes_another_job_and_the_one_before_runs_until_then(world: World) -> None:
    job = await world.running()
    large = model_name(ModelSource(id=LARGE))
    world.edit(model={"id": LARGE, "revision": "master"})
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert status["model"]["name"] == model_name(ModelSource(id=SMALL)), "of the Job that runs"
    assert f"goes on until Qwen3Model {large}" in told(status, "Accepted")[2]
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
    assert told(status, "Accepted")[0] == "False"
    assert f"Job {job['metadata']['name']} goes on meanwhile" in told(status, "Accepted")[2]
    world.edit(suspend=True)
    await world.reconcile()
    assert world.job()["spec"]["suspend"] is True, "it can be stopped all the same"
    world.end(world.job())
    status = await world.reconcile()
    assert told(status, "Ready")[:2] == ("True", "Completed"), "its result is not lost"


async def test_an_unreadable_spec_keeps_what_runs(world: World) -> None:
    job = await world.running()
    before = copy.deepcopy(world.batch()["status"])
    world.edit(preflight="Perhaps")
    status = await world.reconcile()
    assert told(status, "Accepted")[:2] == ("False", "InvalidSpec")
    assert [status[key] for key in ("model", "engine", "plan", "job")] == [
        before[key] for key in ("model", "engine", "plan", "job")
    ]
    world.end(job)
    assert told(await world.reconcile(), "Ready")[:2] == ("True", "Completed")


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


async def test_a_finished_batch_of_the_release_before_lets_go(world: World) -> None:
    job = await world.running()
    held = copy.deepcopy(world.models())
    world.end(job)
    await world.reconcile()
    world.cluster.put(QWEN3_MODELS, {
        "metadata": {
            "namespace": NS, "name": next(iter(held)), "labels": {"app.kubernetes.io/managed-by": "qwen3-operator"},
            "ownerReferences": [owner_reference("Qwen3Batch", QWEN3_BATCHES.api_version, NAME,
                                                world.batch()["metadata"]["uid"], controller=False)],
        },
        "spec": {"id": SMALL},
    })  # fmt: skip
    world.restart()
    await world.reconcile()
    assert world.models() == {}


async def test_a_batch_that_moves_before_its_job_is_there_releases_the_model_before(world: World) -> None:
    world.apply()
    await world.reconcile()
    world.edit(model={"id": LARGE, "revision": "master"})
    await world.reconcile()
    assert world.models() == {model_name(ModelSource(id=LARGE)): [NAME]}


def of_earlier_release(job: Object) -> None:
    """The Job as a release made it that wrote nothing on it."""
    del job["metadata"]["annotations"][ANNOTATION]


@pytest.mark.parametrize("renamed", [False, True], ids=["its name", "a name by other defaults"])
async def test_a_running_job_of_the_release_before_is_taken_over(world: World, renamed: bool) -> None:
    job = await world.running()
    of_earlier_release(job)
    if renamed:  # a default changed since: the name that this release would give is another
        del world.cluster.objects["Job", NS, job["metadata"]["name"]]
        job["metadata"]["name"] = "nightly-0ldname0"
        world.cluster.objects["Job", NS, job["metadata"]["name"]] = job
        world.batch()["status"]["job"]["name"] = "nightly-0ldname0"
    spec, before = copy.deepcopy(job["spec"]), copy.deepcopy(world.batch()["status"])
    world.restart(engine_image="vllm/vllm-openai:v0.99.0")
    assert await world.reconcile() == before
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.job()["spec"] == spec
    assert json.loads(world.job()["metadata"]["annotations"][ANNOTATION])["engine"] == before["engine"]
    world.edit(ttlSecondsAfterFinished=60)
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_finished_job_of_the_release_before_is_not_run_again(world: World) -> None:
    job = await world.running()
    of_earlier_release(job)
    world.end(job)
    world.restart()
    status = await world.reconcile()
    assert (told(status, "Ready")[:2], status["engine"]["image"]) == (
        ("True", "Completed"),
        "vllm/vllm-openai:v0.33.0",
    )
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_moved_target_under_the_release_before_does_not_hide_what_runs(world: World) -> None:
    job = await lent(world)
    small, large = model_name(ModelSource(id=SMALL)), model_name(ModelSource(id=LARGE))
    of_earlier_release(job)
    world.batch()["status"]["model"] = {"name": large}
    world.restart()
    status = await world.reconcile()
    assert status["model"]["name"] == small
    assert world.models() == {small: [NAME]}


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
    assert told(status, "Completed")[:2] == ("False", "NotMerged")


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
    assert told(status, "Accepted")[:2] == ("False", "NameTaken")
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
    assert told(status, "Accepted")[:2] == ("False", "OutputInUse")
    assert "Qwen3Batch first" in told(status, "Accepted")[2]
    assert told(world.batch("first")["status"], "Accepted")[0] == "True"


def test_a_record_too_long_for_an_annotation_leaves_out_what_the_status_has() -> None:
    made = BatchRecord(1, "inputs", {"name": "weights"}, {"command": ["x" * 8000] * 100}, [{"field": "a"}])
    assert len(made.written()) <= MOST_BYTES
    job = {"metadata": {"annotations": {ANNOTATION: made.written()}}}
    assert record_of(job) == BatchRecord(1, "inputs", {"name": "weights"}, {}, [{"field": "a"}], {}, [])


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model": []}', '{"generation": "x"}', "[" * 100_000])
def test_a_record_of_another_hand_counts_as_none(text: str) -> None:
    assert record_of({"metadata": {"annotations": {ANNOTATION: text}}}) is None


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

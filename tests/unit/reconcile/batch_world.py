"""A namespace with Qwen3Batches on an API server in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.api.batch import Qwen3BatchStatus
from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import CLAIMS, JOBS, NODES, PODS
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.batch_record import ANNOTATION
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

    async def reconcile_once(self, name: str = NAME) -> Requeue | float | None:
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


def reported(status: Object, type: str) -> tuple[str, str, str]:
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


def of_earlier_release(job: Object) -> None:
    """The Job as a release made it that wrote nothing on it."""
    del job["metadata"]["annotations"][ANNOTATION]


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
    {"verify": {"mode": "Off"}},
]

"""Reconciling a Qwen3Batch: shared model, ConfigMap, Job, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS
from qwen3_operator.api.batch import ClaimFile, Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import ConfigError
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, JOBS, Kind
from qwen3_operator.desired.batch import QUEUE_LABEL, batch_job, job_name
from qwen3_operator.desired.batch_config import batch_config_map
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import (
    BATCH_LABEL,
    MANAGER,
    QWEN3_BATCHES,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    SELECTOR,
    digest,
    model_name,
)
from qwen3_operator.plan.batch import BatchPlan, as_server, make_batch_plan
from qwen3_operator.reconcile.context import Context, invalid_spec, refused
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.models import shared_model_for, weights_of
from qwen3_operator.reconcile.pods import view_pods
from qwen3_operator.reconcile.reconciliation import Reconciliation, observed
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS
from qwen3_operator.status.batch import BatchView, batch_status, is_over, seen_again
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.model_ready import verified_copy
from qwen3_operator.status.pods import PodView

LOG_LINES = 20
LOGS_A_LOOK = 32
"""Shards whose logs are read in the time of one look; of more shards, each is looked at less often."""
SCALE_MANAGER = f"{MANAGER}-batch"
"""Field manager of what may change in a Job that runs; the rest is applied once, when it is made."""


async def reconcile_batch(context: Context, key: Key) -> float | None:
    """Reconcile one Qwen3Batch. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_BATCHES, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    spec: Qwen3BatchSpec | None = None
    try:
        spec = Qwen3BatchSpec.model_validate(obj["spec"])
        if is_over(obj.get("status") or {}, job_name(key.name, obj["metadata"]["uid"], spec)):
            await context.write_status(QWEN3_BATCHES, obj, seen_again(obj["status"], obj["metadata"]["generation"]))
            return None
        await it.observe(spec)
    except ValidationError as error:
        it.problems.append(invalid_spec(error.errors()))
    except ConfigError as error:
        it.problems.append(Problem("InvalidModelConfig", str(error), "spec.model.id"))
    labels = obj["metadata"].get("labels") or {}
    status = batch_status(spec, labels, obj["metadata"]["generation"], obj.get("status") or {}, it.view())
    await context.write_status(QWEN3_BATCHES, obj, status)
    return it.requeue_after()


@dataclass
class _Reconciliation(Reconciliation):
    plan: BatchPlan | None = None
    model: Object | None = None
    job: Object | None = None
    pods: list[PodView] = field(default_factory=list)
    log_tails: dict[str, str] = field(default_factory=dict)
    gpus_by_node: Mapping[str, int] | None = None

    def view(self) -> BatchView:
        return BatchView(
            now=self.context.now(),
            plan=self.plan,
            problems=self.problems,
            model=self.model,
            job=self.job,
            pods=self.pods,
            log_tails=self.log_tails,
            gpus_by_node=self.gpus_by_node,
        )

    async def observe(self, spec: Qwen3BatchSpec) -> None:
        """Bring model and Job to where they should be and see what came of it."""
        deployment = await self._deployment(spec)
        if spec.deployment_ref is not None and deployment is None:
            return
        server = as_server(spec, deployment)
        _, template_hash = await asyncio.gather(self._check(spec), self._template(server))
        try:
            self.model = await shared_model_for(self.context, QWEN3_BATCHES, self.obj, server)
        except ApiError as error:
            self.problems.append(refused(QWEN3_MODELS, server.source.id, error))
        nodes = self.context.nodes.gpus(server.scheduling.node_selector, server.gpu.resource_name)
        self.gpus_by_node = {node: gpus.count for node, gpus in nodes.items()}
        weights, settings = weights_of(self.model, model_name(server.source), server.source), self.context.settings
        kinds = sorted(set(nodes.values()))
        self.plan = make_batch_plan(self._namespace, self._name, spec, server, weights, settings, kinds, template_hash)
        await self._ensure_job(spec, server)
        if self.job is not None:
            await self._observe_pods(self.job)

    def requeue_after(self) -> float | None:
        """Seconds until it is reconciled again, where no watch will tell."""
        if self.problems or (self.plan is not None and self.plan.engine.problems):
            return TROUBLE_SECONDS
        if self.log_tails:
            return PROGRESS_SECONDS * -(-len(self.log_tails) // LOGS_A_LOOK)
        return TROUBLE_SECONDS if self.job is not None and job_result(self.job) is None and self.pods else None

    async def _deployment(self, spec: Qwen3BatchSpec) -> Qwen3DeploymentSpec | None:
        if spec.deployment_ref is None:
            return None
        name = spec.deployment_ref.name
        found = await self.context.cluster.get(QWEN3_DEPLOYMENTS, self._namespace, name)
        if found is None:
            words = f"Qwen3Deployment {name} does not exist: create it, or name the model here"
            self.problems.append(Problem("DeploymentNotFound", words, "spec.deploymentRef.name"))
            return None
        return Qwen3DeploymentSpec.model_validate(found["spec"])

    async def _check(self, spec: Qwen3BatchSpec) -> None:
        """Problems where the input or the output is not there, or the output is somebody else's."""
        if reference := spec.input.config_map_key_ref:
            where = "spec.input.configMapKeyRef"
            missing = await self.context.missing_key(self._namespace, CONFIG_MAPS, reference.name, reference.key, where)
            if missing:
                self.problems.append(missing)
        for claim, where in (
            (spec.input.claim, "spec.input.claim.name"),
            (spec.output.claim, "spec.output.claim.name"),
        ):
            if claim and await self.context.cluster.get(CLAIMS, self._namespace, claim.name) is None:
                words = f"PersistentVolumeClaim {claim.name} does not exist: create it"
                self.problems.append(Problem("ClaimNotFound", words, where))
        if spec.input.claim and _file(spec.input.claim) == _file(spec.output.claim):
            words = "is the input itself: name another path"
            self.problems.append(Problem("OutputIsInput", words, "spec.output.claim.path"))
        await self._check_output(spec.output.claim)

    async def _check_output(self, output: ClaimFile) -> None:
        """A problem where another Qwen3Batch, made before this one, has the same output or reads it as its input."""
        mine = _age(self.obj)
        for other in await self.context.cluster.list(QWEN3_BATCHES, self._namespace):
            if other["metadata"]["uid"] == self._uid or _age(other) > mine:
                continue
            claim = ClaimFile.model_validate(other["spec"]["output"]["claim"])
            if _file(claim) == _file(output):
                name = other["metadata"]["name"]
                words = f"{output.name}:{output.path} is the output of Qwen3Batch {name}: name another path"
                self.problems.append(Problem("OutputInUse", words, "spec.output.claim.path"))
                return

    async def _template(self, server: Qwen3DeploymentSpec) -> str:
        """Hash of the chat template that replaces the checkpoint's; a problem where it is not there."""
        if server.engine.chat_template is None:
            return ""
        reference = server.engine.chat_template.config_map_key_ref
        where = "spec.engine.chatTemplate.configMapKeyRef"
        missing = await self.context.missing_key(self._namespace, CONFIG_MAPS, reference.name, reference.key, where)
        if missing:
            self.problems.append(missing)
            return ""
        config_map = await self.context.cluster.get(CONFIG_MAPS, self._namespace, reference.name)
        return digest(((config_map or {}).get("data") or {}).get(reference.key))

    async def _ensure_job(self, spec: Qwen3BatchSpec, server: Qwen3DeploymentSpec) -> None:
        """Make the Job once the model is there. One that is there keeps all but what may change in it."""
        assert self.plan is not None
        name = job_name(self._name, self._uid, spec)
        self.job = await self.context.cluster.get(JOBS, self._namespace, name)
        if self.job is not None:
            await self._scale(self.job, spec)
            return
        if self.problems or not self.plan.engine.servable or verified_copy(self.model) is None:
            return
        await self._delete_other_jobs(keep=name)
        config_map = batch_config_map(self._namespace, self._name, self._uid, spec, self.plan.runner)
        kind: Kind = CONFIG_MAPS
        try:
            await self.context.ensure(CONFIG_MAPS, config_map)
            kind = JOBS
            meta, map_name = self.obj["metadata"], config_map["metadata"]["name"]
            wanted = batch_job(meta, spec, server, self.plan, map_name, self.context.settings)
            self.job = await self.context.change(JOBS, None, wanted)
        except PatchError as error:
            self.problems.append(Problem("InvalidPatch", str(error), "spec.podTemplatePatch"))
        except ApiError as error:
            self.problems.append(refused(kind, name, error))

    async def _scale(self, job: Object, spec: Qwen3BatchSpec) -> None:
        """Parallelism, and outside of a queue suspension, of a Job that is there."""
        wanted: dict[str, Any] = {"parallelism": spec.parallelism}
        if QUEUE_LABEL not in (job["metadata"].get("labels") or {}):
            wanted["suspend"] = spec.suspend
        if job_result(job) or all(job["spec"].get(key) == value for key, value in wanted.items()):
            return
        meta = {key: job["metadata"][key] for key in ("namespace", "name", "uid")}
        self.job = await self.context.cluster.apply(JOBS, {"metadata": meta, "spec": wanted}, manager=SCALE_MANAGER)

    async def _delete_other_jobs(self, keep: str) -> None:
        """Remove Jobs of a spec before this one; what they finished is on the volume."""
        jobs = await self.context.cluster.list(JOBS, self._namespace, labels=f"{SELECTOR},{BATCH_LABEL}={self._name}")
        for job in jobs:
            meta = job["metadata"]
            if meta["name"] != keep and not meta.get("deletionTimestamp"):
                await self.context.delete(JOBS, job)

    async def _observe_pods(self, job: Object) -> None:
        labels = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        self.pods = await view_pods(self.context, self._namespace, labels, CONTAINER)
        running = [pod.name for pod in self.pods if pod.pod.get("status", {}).get("phase") == "Running"]
        tails = await asyncio.gather(
            *(self.context.cluster.logs(self._namespace, name, CONTAINER, tail=LOG_LINES) for name in running)
        )
        self.log_tails = dict(zip(running, tails, strict=True))


def _file(claim: ClaimFile) -> tuple[str, str]:
    """A file, whatever the way of writing its path."""
    return claim.name, "/".join(part for part in claim.path.split("/") if part not in ("", "."))


def _age(batch: Object) -> tuple[str, str]:
    """Orders batches by their making."""
    return str(batch["metadata"]["creationTimestamp"]), str(batch["metadata"]["uid"])

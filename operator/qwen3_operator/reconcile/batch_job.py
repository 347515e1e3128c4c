"""The Job of a Qwen3Batch: the model it waits for, its making, and what may change in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ConfigError
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CONFIG_MAPS, JOBS
from qwen3_operator.controller.ownership import NameTaken, controller_of
from qwen3_operator.controller.store import OWNER
from qwen3_operator.desired.batch import batch_job, changeable, config_map_of, job_name, kept, unchangeable
from qwen3_operator.desired.batch_config import batch_config_map
from qwen3_operator.desired.batch_outcome import ANNOTATION as OUTCOME_ANNOTATION
from qwen3_operator.desired.batch_outcome import BatchOutcome, outcome_on
from qwen3_operator.desired.batch_record import (
    ANNOTATION,
    BatchRecord,
    record_of,
    record_of_earlier_release,
    record_of_plan,
    servers_of,
)
from qwen3_operator.desired.drift import holds_all_of
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import MANAGER, QWEN3_BATCHES, QWEN3_MODELS, batch_labels
from qwen3_operator.plan.batch import BatchPlan, as_server, make_batch_plan
from qwen3_operator.reconcile.batch_references import BatchReferences
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.models import referred_model, shared_model_for, wanted_name, weights_of
from qwen3_operator.status.batch import BatchView
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.model_ready import source_of, verified_copy

SCALE_MANAGER = f"{MANAGER}-batch"
"""Field manager of what may change in a Job that is there; the rest is applied once, when it is made."""


def jobs_of(context: Context, batch: Object) -> list[Object]:
    """The Jobs that the Qwen3Batch controls, newest first, those that are being deleted left out."""
    found = [job for job in context.store.find(JOBS, OWNER, batch["metadata"]["uid"]) if _is_of(job, batch)]
    return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]), reverse=True)


@dataclass
class BatchJob(BatchReferences):
    """The Job: made when its model is there, and kept to what the spec says of a Job that is there."""

    view: BatchView = field(init=False)
    wanted_name: str = ""
    wanted_model: Object | None = None
    """The Qwen3Model that the spec asks for, where no Job serves it yet."""
    waits_for_deletion: bool = False

    def __post_init__(self) -> None:
        output = ((self.obj.get("spec") or {}).get("output") or {}).get("claim") or {}
        where = f"{output.get('name')}:{output.get('path')}"
        self.view = BatchView(now=self.context.now(), output=where, problems=self.problems)

    @property
    def _generation(self) -> int:
        return int(self.obj["metadata"]["generation"])

    def _take(self, job: Object, spec: Qwen3BatchSpec | None) -> None:
        """Go by this Job, and by what it was made from."""
        self.view.job, self.view.noted = job, outcome_on(job)
        made_from = record_of(job) or record_of_earlier_release(job, self.obj["metadata"], spec, self._status)
        self.view.made_from = made_from
        if name := made_from.model.get("name"):
            self.view.model = self.context.store.get(QWEN3_MODELS, self._namespace, name)

    async def _make_job(self, spec: Qwen3BatchSpec, ended: Object | None = None) -> None:
        """Make the Job once its model is there. One of the spec before runs until then, and one that has `ended` and
        is to be replaced is there until then, with what is noted on it."""
        server, before, view = await self._resolve(spec), self.view.job, self.view
        missing = self._servers_missing(servers_of(spec))
        if before is None:
            view.model, view.servers_missing = self.wanted_model, missing
        else:
            await self._adjust(spec)
        if server is None or view.plan is None or self.problems or not view.plan.engine.servable:
            return
        copy = verified_copy(self.wanted_model)
        if copy is None or self.wanted_model is None:
            if before is not None and self.wanted_model is not None:
                name = self.wanted_model["metadata"]["name"]
                words = f"the Job of the spec before goes on until Qwen3Model {name} is there"
                view.warnings.append(Problem(Reason.GOES_ON_MEANWHILE, words, severity="warning"))
            return
        if missing is not None and not spec.suspend:
            if before is not None and missing != view.servers_missing:
                words = f"the Job of the spec before goes on meanwhile: {missing.message}"
                view.warnings.append(Problem(Reason.GOES_ON_MEANWHILE, words, severity="warning"))
            return
        record = record_of_plan(spec, self._generation, view.plan, self.wanted_model["metadata"]["name"], copy)
        name = job_name(self._name, self._uid, spec, ended)
        if await self._is_free(name, spec):
            await self._create(name, spec, server, view.plan, record, before or ended)

    async def _resolve(self, spec: Qwen3BatchSpec) -> Qwen3DeploymentSpec | None:
        """What the spec comes to now: the Qwen3Model, and the plan for a Job."""
        server = await self._server(spec)
        if server is None:
            return None
        _, template_hash = await asyncio.gather(self._check(spec), self._template(server))
        nodes = self.context.nodes.gpus(server.scheduling.node_selector, server.gpu.resource_name)
        try:
            weights = weights_of(self.wanted_model, self.wanted_name, server.source)
        except ConfigError as error:
            self.problems.append(Problem(Reason.INVALID_MODEL_CONFIG, str(error), "spec.model.id"))
            return None
        kinds, settings = sorted(set(nodes.values())), self.context.settings
        commit = (verified_copy(self.wanted_model) or {}).get("commit", "")
        self.view.plan = make_batch_plan(
            self._namespace, self._name, spec, server, weights, settings, kinds, template_hash, commit=commit
        )
        return server

    async def _server(self, spec: Qwen3BatchSpec) -> Qwen3DeploymentSpec | None:
        """The server that has the batch's model, engine and GPUs, and its Qwen3Model; None, and a problem, where what
        the spec refers to is not there."""
        deployment = self._deployment(spec)
        if deployment is not None and deployment.model_ref is not None:
            return await self._server_of_reference(spec, deployment, deployment.model_ref.name)
        if spec.deployment_ref is not None and deployment is None:
            return None
        server = as_server(spec, deployment)
        self.wanted_name = wanted_name(self.context, self.obj, server.source)
        try:
            self.wanted_model = await shared_model_for(self.context, QWEN3_BATCHES, self.obj, server)
            self.wanted_name = self.wanted_model["metadata"]["name"]
        except ApiError as error:
            self.problems.append(refused(QWEN3_MODELS, self.wanted_name, error))
        return server

    async def _server_of_reference(
        self, spec: Qwen3BatchSpec, deployment: Qwen3DeploymentSpec, model: str
    ) -> Qwen3DeploymentSpec | None:
        """The same for a Qwen3Deployment that refers to a `model` itself."""
        self.wanted_name = model
        self.wanted_model = await referred_model(self.context, QWEN3_BATCHES, self.obj, model)
        if self.wanted_model is None:
            words = f"Qwen3Model {model}, to which that Qwen3Deployment refers, does not exist: create it"
            self.problems.append(Problem(Reason.QWEN3_MODEL_NOT_FOUND, words, "spec.deploymentRef.name"))
            return None
        source = source_of(self.wanted_model)
        if source is None:
            words = f"Qwen3Model {model}, to which that Qwen3Deployment refers, cannot be read: see its Accepted"
            self.problems.append(Problem(Reason.INVALID_SPEC, words, "spec.deploymentRef.name"))
            return None
        return as_server(spec, deployment.model_copy(update={"model": source}))

    async def _is_free(self, name: str, spec: Qwen3BatchSpec) -> bool:
        """Whether a Job of this name may be made. Ours whose labels were taken away is taken as it is."""
        live = await self.context.observe(JOBS, self._namespace, name)
        if live is None:
            return True
        if live["metadata"].get("deletionTimestamp"):
            self.waits_for_deletion = True
        elif _is_of(live, self.obj):
            self._take(live, spec)
            await self._adjust(spec)
            self.view.plan = None
        else:
            self.problems.append(refused(JOBS, name, NameTaken(JOBS, live)))
        return False

    async def _create(
        self,
        name: str,
        spec: Qwen3BatchSpec,
        server: Qwen3DeploymentSpec,
        plan: BatchPlan,
        record: BatchRecord,
        before: Mapping[str, Any] | None,
    ) -> None:
        """Make ConfigMap and Job, in the place of the Job `before`; from then on the Job says what runs."""
        config_map = batch_config_map(self._namespace, self._name, self._uid, spec, plan.runner)
        kind, wanted = CONFIG_MAPS, config_map
        try:
            await self.context.ensure(CONFIG_MAPS, config_map)
            map_name = config_map["metadata"]["name"]
            job = batch_job(self.obj["metadata"], spec, server, plan, map_name, self.context.settings)
            annotations, noted = {ANNOTATION: record.written()}, BatchOutcome(answered=self.view.noted.answered)
            if noted.answered:  # by a Job before: it is on the volume
                annotations[OUTCOME_ANNOTATION] = noted.written()
            kind, wanted = JOBS, job | {"metadata": job["metadata"] | {"name": name, "annotations": annotations}}
            if before is not None:
                await self.context.delete(JOBS, dict(before))
                self.view.job = self.view.made_from = None
            self.view.job = await self.context.change(JOBS, None, wanted)
            self.view.made_from, self.view.plan, self.view.model = record, None, self.wanted_model
            self.view.noted = noted
        except PatchError as error:
            self.problems.append(Problem(Reason.INVALID_PATCH, str(error), "spec.podTemplatePatch"))
        except ApiError as error:
            self.problems.append(refused(kind, wanted["metadata"]["name"], error))

    async def _keep_config(self, job: Object, spec: Qwen3BatchSpec) -> None:
        """Make the ConfigMap of a Job again that was deleted, where a pod waits for its volumes. Its name says what
        was in it: where the spec comes to something else by now, that is lost, and only another Job goes on."""
        name, pods = config_map_of(job), [*self.view.pods, *self.view.delivery_pods]
        if not name or not any(pod.events and pod.placed and not pod.over for pod in pods):
            return
        if await self.context.observe(CONFIG_MAPS, self._namespace, name) is not None:
            return
        before, problems = self.view.plan, [*self.problems]
        await self._resolve(spec)
        plan, self.view.plan, self.problems[:] = self.view.plan, before, problems  # they are not of this Job
        wanted = batch_config_map(self._namespace, self._name, self._uid, spec, plan.runner) if plan else None
        if wanted is None or wanted["metadata"]["name"] != name:
            words = (
                f"ConfigMap {name}, from which Job {job['metadata']['name']} runs, was deleted and cannot be made again"
            )
            which = "Qwen3Batch, and apply it again: it" if job_result(job) else "Job: the next one"
            remedy = f"delete the {which} goes on with what is finished"
            self.problems.append(Problem(Reason.CONFIG_MAP_NOT_FOUND, f"{words}. To do: {remedy}"))
            return
        try:
            await self.context.change(CONFIG_MAPS, None, wanted)
        except ApiError as error:
            self.problems.append(refused(CONFIG_MAPS, name, error))

    async def _adjust(self, spec: Qwen3BatchSpec) -> None:
        """Apply to the Job what may change in it, and note what may not. In one that has ended nothing may."""
        job, made_from = self.view.job, self.view.made_from
        assert job is not None and made_from is not None
        if job_result(job) is not None:
            await self._keep()
            return
        self.view.servers_missing = self._servers_missing(made_from.servers or servers_of(spec))
        record = None
        if made_from.serves(spec, self._generation):
            record = made_from.asked_for_by(spec, self._generation).written()
            self.view.warnings += unchangeable(spec, job)
        await self._change(job, changeable(spec, job, pause=self._pauses(job)), record)

    async def _keep(self, seconds: int | None = None) -> None:
        """Keep a Job that has ended for so many seconds after its end; None: for as long as it says."""
        assert self.view.job is not None
        await self._change(self.view.job, kept(self.view.job, seconds))

    async def _change(self, job: Object, spec: Object, record: str | None = None) -> None:
        """Apply these fields of the spec to the Job, and the `record`; None: it stays."""
        record = record or (job["metadata"].get("annotations") or {}).get(ANNOTATION)
        annotations = {} if record is None else {ANNOTATION: record}
        wanted: Object = {"metadata": {"labels": batch_labels(self._name), "annotations": annotations}, "spec": spec}
        if holds_all_of(job, wanted):
            return
        meta = {key: job["metadata"][key] for key in ("namespace", "name", "uid")}
        try:
            applied = wanted | {"metadata": meta | wanted["metadata"]}
            answer = await self.context.cluster.apply(JOBS, applied, manager=SCALE_MANAGER)
            self.view.job = self.context.keep(JOBS, answer)
        except ApiError as error:
            self.problems.append(refused(JOBS, meta["name"], error))

    def _pauses(self, job: Object) -> bool:
        """Whether the Job waits for servers: pods that find none use up its tries. While servers are replaced its pods
        wait themselves; one that is suspended goes on when there is one to answer."""
        missing = self.view.servers_missing
        return missing is not None and (missing.reason != Reason.SERVERS_NOT_READY or bool(job["spec"].get("suspend")))


def _is_of(job: Object, batch: Object) -> bool:
    """Whether the Job is controlled by this very Qwen3Batch, and stays."""
    by = controller_of(job) or {}
    return by.get("uid") == batch["metadata"]["uid"] and not job["metadata"].get("deletionTimestamp")

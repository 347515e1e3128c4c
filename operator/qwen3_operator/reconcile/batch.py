"""Reconciling a Qwen3Batch: shared model, ConfigMap, Job, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from qwen3_in_engine.batch_runner.contract import DIED, EXPIRED, GIVEN_UP, PROGRESS_SECONDS
from qwen3_operator.api.base import ConfigMapKeyRef
from qwen3_operator.api.batch import ClaimFile, Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import ModelSource
from qwen3_operator.catalog import ConfigError
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, JOBS
from qwen3_operator.controller.ownership import NameTaken, controller_of
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.controller.store import OWNER
from qwen3_operator.desired.batch import batch_job, changeable, job_name, nodes_of, unchangeable
from qwen3_operator.desired.batch_config import batch_config_map
from qwen3_operator.desired.batch_delivery import delivery_job, delivery_name
from qwen3_operator.desired.batch_record import (
    ANNOTATION,
    BatchRecord,
    record_of,
    record_of_earlier_release,
    record_of_plan,
)
from qwen3_operator.desired.drift import holds_all_of
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import (
    MANAGER,
    QWEN3_BATCHES,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    batch_labels,
    file_on_claim,
)
from qwen3_operator.plan.batch import BatchPlan, as_server, make_batch_plan
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.holders import settle
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.models import note_models, referred_model, shared_model_for, wanted_name, weights_of
from qwen3_operator.reconcile.pods import pods_of_job, views_of
from qwen3_operator.reconcile.reconciliation import Reconciliation, observed, undecodable
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS
from qwen3_operator.reconcile.watched import BY_OUTPUT, in_namespace
from qwen3_operator.status.accepted import unreadable
from qwen3_operator.status.batch import BatchView, batch_status, failure, has_ended, is_over, status_at_rest
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.model_ready import verified_copy

LOG_LINES = 20
LOG_BYTES = 16 * 1024
"""Of those lines: room for a progress line among vLLM's own."""
LOGS_A_RECONCILE = 32
"""Shards whose logs are read in one reconcile; more than that take turns."""
SCALE_MANAGER = f"{MANAGER}-batch"
"""Field manager of what may change in a Job that is there; the rest is applied once, when it is made."""


async def reconcile_batch(context: Context, key: Key) -> Requeue | float | None:
    """Reconcile one Qwen3Batch. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_BATCHES, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    status = obj.get("status") or {}
    if is_over(status) or (has_ended(status) and not jobs_of(context, obj)):
        await it.rest()
        return None
    spec = it.read_spec()
    await it.act(spec)
    labels = obj["metadata"].get("labels") or {}
    status = batch_status(spec, labels, obj["metadata"]["generation"], status, it.view)
    await context.write_status(QWEN3_BATCHES, obj, status, [view.pod for view in it.view.pods])
    await it.let_go(over=is_over(status))
    return it.requeue_after()


def others_with_output(context: Context, batch: Object, claim: str, path: str) -> list[Object]:
    """Other Qwen3Batches of its namespace whose answers go to the same file."""
    meta = batch["metadata"]
    wanted = in_namespace(meta["namespace"], ":".join(file_on_claim(claim, path)))
    found = context.store.find(QWEN3_BATCHES, BY_OUTPUT, wanted)
    return [other for other in found if other["metadata"]["uid"] != meta["uid"]]


def jobs_of(context: Context, batch: Object) -> list[Object]:
    """The Jobs that the Qwen3Batch controls, newest first, those that are being deleted left out."""
    found = [job for job in context.store.find(JOBS, OWNER, batch["metadata"]["uid"]) if _is_of(job, batch)]
    return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]), reverse=True)


@dataclass
class _Reconciliation(Reconciliation):
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

    def read_spec(self) -> Qwen3BatchSpec | None:
        """The spec; None, and a problem, where it cannot be read."""
        if problem := undecodable(self.obj):
            self.problems.append(problem)
            return None
        try:
            return Qwen3BatchSpec.model_validate(self.obj["spec"])
        except ValidationError as error:
            self.problems.append(unreadable(error.errors()))
            return None

    async def act(self, spec: Qwen3BatchSpec | None) -> None:
        """Bring model and Job to where they should be, and observe what came of it. The Job comes first: while it
        serves the spec, or has ended, nothing is resolved anew."""
        jobs = jobs_of(self.context, self.obj)
        if jobs:
            self._take(jobs[0], spec)
        if job_result(self.view.job):
            await self._keep_result(spec)
        elif spec is None:
            pass  # what runs goes on
        elif self.view.made_from is not None and self.view.made_from.serves(spec, self._generation):
            await self._adjust(spec)
        else:
            await self._make_job(spec)
        if self.view.job is not None:
            await self._observe_pods(self.view.job)
            if job_result(self.view.job) == "Failed":
                await self._after_failure(self.view.job, spec)

    async def rest(self) -> None:
        """Nothing is left to do for a batch that is over, but to keep its Job for as long as it says now."""
        if self._status.get("observedGeneration") != self._generation:
            spec, jobs = self.read_spec(), jobs_of(self.context, self.obj)
            if spec is not None and jobs:
                self._take(jobs[0], spec)
                await self._adjust(spec)
        await self.context.write_status(
            QWEN3_BATCHES, self.obj, status_at_rest(self._status, self._generation), pods=()
        )
        await self.let_go(over=True)

    async def let_go(self, *, over: bool) -> None:
        """Release every model but those that the Job runs on or the spec asks for; all, once the batch is over."""
        made = self.view.made_from.model.get("name") if self.view.made_from else None
        keep = set() if over else {str(name) for name in (made, self.wanted_name) if name}
        if over or keep:  # where neither is known (the deploymentRef is not there, say) nothing is released
            note_models(self.context, QWEN3_BATCHES, self.obj, keep)
            await settle(self.context, QWEN3_BATCHES, self.obj, keep)

    def requeue_after(self) -> Requeue | float | None:
        """When it is reconciled again, where no watch brings the news."""
        view = self.view
        if self.problems or self.waits_for_deletion or (view.plan is not None and not view.plan.engine.servable):
            return Requeue(TROUBLE_SECONDS, trouble=True)
        if view.log_tails:
            return PROGRESS_SECONDS
        if view.output_capacity:
            return TROUBLE_SECONDS
        return TROUBLE_SECONDS if view.job is not None and job_result(view.job) is None and view.pods else None

    def _take(self, job: Object, spec: Qwen3BatchSpec | None) -> None:
        """Go by this Job, and by what it was made from."""
        self.view.job = job
        made_from = record_of(job) or record_of_earlier_release(job, self.obj["metadata"], spec, self._status)
        self.view.made_from = made_from
        if name := made_from.model.get("name"):
            self.view.model = self.context.store.get(QWEN3_MODELS, self._namespace, name)

    async def _keep_result(self, spec: Qwen3BatchSpec | None) -> None:
        """The Job has ended: its result stays, whatever the spec says by now."""
        assert self.view.made_from is not None
        if spec is None:
            self.problems.clear()
            return
        if not self.view.made_from.serves(spec, self._generation):
            words = "the spec was edited too late: the batch has ended. Make another Qwen3Batch"
            self.view.warnings.append(Problem(Reason.EDITED_TOO_LATE, words, severity="warning"))
        if job_result(self.view.job) == "Complete":
            await self._adjust(spec)

    async def _after_failure(self, job: Mapping[str, Any], spec: Qwen3BatchSpec | None) -> None:
        """Nothing is lost: what is finished is delivered; where only room was missing, the batch goes on with more."""
        reason, message = failure(self.view)
        full = reason == Reason.OUTPUT_FULL or "outputCapacity" in self._status
        if full and spec is not None:
            if await self._has_grown(spec.output.claim):
                await self._go_on(job, spec)
                return
        elif reason not in _NOTHING_TO_DELIVER and (self._status.get("requests") or reason in _AMID_THE_LINES):
            await self._deliver(job, *_words_of_missing(reason, message))
        if spec is not None:
            await self._adjust(spec, hold=not self.view.is_over)

    async def _deliver(self, job: Mapping[str, Any], code: str, why: str) -> None:
        try:
            self.view.delivery = await self.context.observe(JOBS, self._namespace, delivery_name(job))
            if self.view.delivery is None:
                wanted = delivery_job(job, code, why, self.context.settings)
                self.view.delivery = await self.context.change(JOBS, None, wanted)
        except ApiError as error:
            self.problems.append(refused(JOBS, delivery_name(job), error))

    async def _has_grown(self, output: ClaimFile) -> bool:
        """Whether the claim of the output is larger than when it was full."""
        claim = await self.context.observe(CLAIMS, self._namespace, output.name) or {}
        now = str(((claim.get("status") or {}).get("capacity") or {}).get("storage") or "0")
        self.view.output_capacity = full = str(self._status.get("outputCapacity") or now)
        try:
            return quantity(now) > quantity(full)
        except ValueError:
            return False

    async def _go_on(self, job: Mapping[str, Any], spec: Qwen3BatchSpec) -> None:
        """Another Job in the place of one that found no room."""
        await self.context.delete(JOBS, dict(job))
        self.view.job = self.view.made_from = None
        self.view.output_capacity, self.view.pods, self.view.log_tails = "", (), {}
        await self._make_job(spec)

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
        source = ModelSource.model_validate(self.wanted_model["spec"])
        return as_server(spec, deployment.model_copy(update={"model": source}))

    async def _make_job(self, spec: Qwen3BatchSpec) -> None:
        """Make the Job once its model is there. One of the spec before runs until then."""
        server, before, view = await self._resolve(spec), self.view.job, self.view
        if before is None:
            view.model = self.wanted_model
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
        record = record_of_plan(spec, self._generation, view.plan, self.wanted_model["metadata"]["name"], copy)
        if await self._is_free(job_name(self._name, self._uid, spec), spec):
            await self._create(spec, server, view.plan, record, before)

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
            kind, wanted = JOBS, job | {"metadata": job["metadata"] | {"annotations": {ANNOTATION: record.written()}}}
            if before is not None:  # what it finished is on the volume
                await self.context.delete(JOBS, dict(before))
                self.view.job = self.view.made_from = None
            self.view.job = await self.context.change(JOBS, None, wanted)
            self.view.made_from, self.view.plan, self.view.model = record, None, self.wanted_model
        except PatchError as error:
            self.problems.append(Problem(Reason.INVALID_PATCH, str(error), "spec.podTemplatePatch"))
        except ApiError as error:
            self.problems.append(refused(kind, wanted["metadata"]["name"], error))

    async def _adjust(self, spec: Qwen3BatchSpec, *, hold: bool = False) -> None:
        """Apply to the Job what may change in it, and note what may not. `hold`: see `changeable`."""
        job, made_from = self.view.job, self.view.made_from
        assert job is not None and made_from is not None
        ended = job_result(job) is not None
        annotation = (job["metadata"].get("annotations") or {}).get(ANNOTATION)
        if not ended and made_from.serves(spec, self._generation):
            annotation = made_from.asked_for_by(spec, self._generation).written()
            self.view.warnings += unchangeable(spec, job)
        annotations = {} if annotation is None else {ANNOTATION: annotation}
        wanted: Object = {
            "metadata": {"labels": batch_labels(self._name), "annotations": annotations},
            "spec": changeable(spec, job, ended=ended, hold=hold),
        }
        if holds_all_of(job, wanted):
            return
        meta = {key: job["metadata"][key] for key in ("namespace", "name", "uid")}
        try:
            applied = wanted | {"metadata": meta | wanted["metadata"]}
            answer = await self.context.cluster.apply(JOBS, applied, manager=SCALE_MANAGER)
            self.view.job = self.context.keep(JOBS, answer)
        except ApiError as error:
            self.problems.append(refused(JOBS, meta["name"], error))

    def _deployment(self, spec: Qwen3BatchSpec) -> Qwen3DeploymentSpec | None:
        """The spec of the Qwen3Deployment that is referred to; None, and a problem, where it cannot be had."""
        if spec.deployment_ref is None:
            return None
        name, where = spec.deployment_ref.name, "spec.deploymentRef.name"
        found = self.context.store.get(QWEN3_DEPLOYMENTS, self._namespace, name)
        if found is None:
            words = f"Qwen3Deployment {name} does not exist: create it, or name the model here"
            self.problems.append(Problem(Reason.DEPLOYMENT_NOT_FOUND, words, where))
            return None
        problem = undecodable(found)
        if problem is None:
            try:
                return Qwen3DeploymentSpec.model_validate(found["spec"])
            except ValidationError as error:
                problem = unreadable(error.errors())
        self.problems.append(replace(problem, message=f"Qwen3Deployment {name}: {problem.message}", field=where))
        return None

    async def _check(self, spec: Qwen3BatchSpec) -> None:
        """Problems where the input or the output is not there, or the output is somebody else's."""
        if reference := spec.input.config_map_key_ref:
            await self._digest(reference, "spec.input.configMapKeyRef")
        for claim, where in (
            (spec.input.claim, "spec.input.claim.name"),
            (spec.output.claim, "spec.output.claim.name"),
        ):
            if claim and await self.context.observe(CLAIMS, self._namespace, claim.name) is None:
                words = f"PersistentVolumeClaim {claim.name} does not exist: create it"
                self.problems.append(Problem(Reason.CLAIM_NOT_FOUND, words, where))
        if spec.input.claim and _same_file(spec.input.claim, spec.output.claim):
            words = "is the input itself: name another path"
            self.problems.append(Problem(Reason.OUTPUT_IS_INPUT, words, "spec.output.claim.path"))
        self._check_output(spec.output.claim)

    def _check_output(self, output: ClaimFile) -> None:
        """A problem where another Qwen3Batch, made before this one, has the same output."""
        others = others_with_output(self.context, self.obj, output.name, output.path)
        first = min(others, key=_age, default=self.obj)
        if _age(first) < _age(self.obj):
            words = f"{output.name}:{output.path} is the output of Qwen3Batch {first['metadata']['name']}"
            problem = Problem(Reason.OUTPUT_IN_USE, f"{words}: name another path", "spec.output.claim.path")
            self.problems.append(problem)

    async def _template(self, server: Qwen3DeploymentSpec) -> str:
        """Hash of the chat template that replaces the checkpoint's; a problem where it is not there."""
        if server.engine.chat_template is None:
            return ""
        reference = server.engine.chat_template.config_map_key_ref
        return await self._digest(reference, "spec.engine.chatTemplate.configMapKeyRef")

    async def _digest(self, reference: ConfigMapKeyRef, field: str) -> str:
        """Hash of the text under a key of a ConfigMap; a problem where it is not there."""
        wanted = Reference(CONFIG_MAPS, reference.name, reference.key, field)
        found = await find_references(self.context, self._namespace, [wanted])
        self.problems += found.problems
        return found.digests[0]

    async def _observe_pods(self, job: Mapping[str, Any]) -> None:
        view = self.view
        view.pods = await views_of(self.context, pods_of_job(self.context, dict(job)), CONTAINER)
        if self.context.settings.read_cluster and any(pod.unplaced for pod in view.pods):
            view.gpus_by_node = {node: gpus.count for node, gpus in self.context.nodes.gpus(*nodes_of(job)).items()}
        running = sorted(pod.name for pod in view.pods if pod.pod.get("status", {}).get("phase") == "Running")
        read = _whose_turn(running, view.now.timestamp())
        logs = self.context.cluster.logs
        tails = await asyncio.gather(
            *(logs(self._namespace, name, CONTAINER, tail=LOG_LINES, limit=LOG_BYTES) for name in read)
        )
        view.log_tails = dict(zip(read, tails, strict=True))


_NOTHING_TO_DELIVER = {
    *(Reason.INPUT_NOT_FOUND, Reason.INPUT_NOT_READABLE, Reason.INPUT_EMPTY, Reason.INPUT_CHANGED),
    *(Reason.OUTPUT_EXISTS, Reason.OUTPUT_IN_USE, Reason.OUTPUT_OF_OTHER_SETTINGS, Reason.OUTPUT_NOT_WRITABLE),
    *(Reason.OUTPUT_FULL, Reason.ENGINE_ARGUMENTS_REFUSED),
}
_AMID_THE_LINES = {Reason.DEADLINE_EXCEEDED, Reason.ENGINE_DIED, Reason.ENGINE_STALLED, Reason.SERVER_NOT_REACHABLE}
"""Failures of a Job that has answered lines, whether the status has heard of them or not."""


def _words_of_missing(reason: Reason, message: str) -> tuple[str, str]:
    """Code and words of the lines that a Job left unanswered which failed so."""
    if reason == Reason.DEADLINE_EXCEEDED:
        return EXPIRED, "spec.activeDeadlineSeconds were over before it was answered"
    code = DIED if reason in (Reason.ENGINE_DIED, Reason.ENGINE_STALLED) else GIVEN_UP
    return code, f"its shard was given up before it was answered: {reason.value}: {message}"


def _whose_turn(names: Sequence[str], seconds: float) -> Sequence[str]:
    """Of many pods those whose logs are read at this time."""
    turns = -(-len(names) // LOGS_A_RECONCILE) or 1
    return names[int(seconds / PROGRESS_SECONDS) % turns :: turns]


def _is_of(job: Object, batch: Object) -> bool:
    """Whether the Job is controlled by this very Qwen3Batch, and stays."""
    by = controller_of(job) or {}
    return by.get("uid") == batch["metadata"]["uid"] and not job["metadata"].get("deletionTimestamp")


def _same_file(a: ClaimFile, b: ClaimFile) -> bool:
    return file_on_claim(a.name, a.path) == file_on_claim(b.name, b.path)


def _age(batch: Object) -> tuple[str, str]:
    """Orders batches by their making."""
    return str(batch["metadata"]["creationTimestamp"]), str(batch["metadata"]["uid"])

"""Reconciling a Qwen3Model: claim, Job, status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, JOBS, SECRETS
from qwen3_operator.controller.ownership import OwnerGoing, is_controlled_by
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.controller.store import OWNER
from qwen3_operator.desired.claim import claim_size, is_bound, model_claim, requested, size_is_known
from qwen3_operator.desired.download import CONTAINER, Step, ca_bundle, fetches_another, model_job
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_MODELS, claim_name
from qwen3_operator.plan.endpoint import check_endpoint
from qwen3_operator.reconcile.compile_cache import class_without_growth
from qwen3_operator.reconcile.context import Context, event_words, last_seen, refused
from qwen3_operator.reconcile.holders import holders_of, is_made_for_users, retention, users_of
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.pods import pods_of_job, views_of, why_no_pods
from qwen3_operator.reconcile.reconciliation import Reconciliation, observed, undecodable
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.removal import free_superseded
from qwen3_operator.reconcile.requeue import EVENT_SECONDS, TROUBLE_SECONDS
from qwen3_operator.status.accepted import unreadable
from qwen3_operator.status.download import PROGRESS_SECONDS, job_failed, needed_volume
from qwen3_operator.status.jobs import job_result, lacks_pods
from qwen3_operator.status.model import is_complete, model_status, unreadable_status
from qwen3_operator.status.model_fault import suspected_at
from qwen3_operator.status.model_ready import verified_copy
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.report import final_report
from qwen3_operator.status.view import ModelView

_WAITS_FOR_POD = {"WaitForFirstConsumer", "WaitForPodScheduled"}
"""Reasons of Events about a claim whose class binds it for a pod."""


async def reconcile_model(context: Context, key: Key) -> Requeue | float | None:
    """Reconcile one Qwen3Model. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_MODELS, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    try:
        problem = undecodable(obj)
        spec = None if problem else Qwen3ModelSpec.model_validate(obj["spec"])
    except ValidationError as error:
        spec, problem = None, unreadable(error.errors())
    if spec is None:
        assert problem is not None
        status = unreadable_status(problem, obj["metadata"]["generation"], obj.get("status") or {}, context.now())
        await context.write_status(QWEN3_MODELS, obj, status)
        return None
    await it.act(spec)
    status = model_status(key.name, spec, obj["metadata"]["generation"], obj.get("status") or {}, it.view())
    await context.write_status(QWEN3_MODELS, obj, status)
    return it.requeue_after(spec, status)


@dataclass
class _Reconciliation(Reconciliation):
    claim: Object | None = None
    claim_events: list[str] = field(default_factory=list)
    claim_waits: bool = False
    grows_to: str = ""
    fixed_class: str = ""
    step: Step = Step.DOWNLOAD
    job: Object | None = None
    pods: list[PodView] = field(default_factory=list)
    pods_refused: str = ""
    log_tail: str = ""
    suspected_at: str = ""
    users: list[Object] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)
    retention: str = "Retain"
    endpoint: str = ""
    removed: Sequence[str] = ()
    beside: Sequence[str] = ()
    """Of an adapter: who serves the model that it is for."""

    def view(self) -> ModelView:
        return ModelView(
            now=self.context.now(),
            problems=self.problems,
            claim=self.claim,
            claim_events=self.claim_events,
            claim_waits=self.claim_waits,
            grows_to=self.grows_to,
            fixed_class=self.fixed_class,
            step=self.step,
            suspected_at=self.suspected_at,
            job=self.job,
            pods=self.pods,
            pods_refused=self.pods_refused,
            log_tail=self.log_tail,
            used_by=self.used_by,
            retention=self.retention,
            decided_by=self._decided_by(),
            endpoint=self.endpoint,
            removed=self.removed,
            first_retry_seconds=self.context.settings.download_retry_seconds,
        )

    async def act(self, spec: Qwen3ModelSpec) -> None:
        """Bring claim and Job to where they should be and see what came of it."""
        self.users = users_of(self.context, self.obj)
        self.used_by = [user["metadata"]["name"] for user in self.users]
        self.retention = retention(self.context, self.obj)
        self.endpoint = spec.endpoint or self.context.settings.hub_endpoint
        await self._find_claim(spec)
        if spec.suspend:
            await self._delete_jobs(lambda job: job_result(job) != "Complete")
        if spec.adapter_of is not None and not await self._base_is_ready(spec.adapter_of.name):
            return
        listed = None
        if not spec.suspend and not self.problems and not self._knows_size(spec):
            await self._work(spec, Step.LIST)
            listed = (final_report(self.pods, "Complete") or {}).get("bytes")
            if not listed:
                return
        await self._ensure_claim(spec, repository_bytes=listed)
        if self._is_in_place(spec, self._status):
            # A revision that was wanted in between is not fetched any more.
            await self._delete_jobs(lambda job: job_result(job) is None and fetches_another(job, spec))
            if not spec.suspend:
                freed = await free_superseded(self.context, self.obj, spec, self.used_by)
                self.removed = freed.removed
                self.problems += freed.problems
            return
        if spec.suspend:
            return
        await self._work(spec, self._next_step(spec))
        if job_failed(self.job, self.pods) and (needed := needed_volume(self.pods, self.claim)):
            await self._ensure_claim(spec, needed_bytes=needed)
        await self._observe_claim_trouble()

    def requeue_after(self, spec: Qwen3ModelSpec, status: Object) -> Requeue | float | None:
        """When it is reconciled again, where no watch brings the news."""
        if self._is_in_place(spec, status):
            waits = self.problems or (status.get("superseded") and not spec.suspend)
            return Requeue(TROUBLE_SECONDS, trouble=True) if waits else None
        if spec.suspend:
            return None
        retry: datetime | None = parse_time((status.get("download") or {}).get("retryAt"))
        if job_failed(self.job, self.pods) and retry is not None and not self.grows_to:
            wait = max(1.0, (retry - self.context.now()).total_seconds())
            return Requeue(TROUBLE_SECONDS, trouble=True, by=wait) if self._may_mend_unseen(spec) else wait
        if any(view.pod.get("status", {}).get("phase") == "Running" for view in self.pods):
            return PROGRESS_SECONDS
        unexplained = lacks_pods(self.job) and not self.pods and not self.pods_refused
        return Requeue(EVENT_SECONDS if unexplained else TROUBLE_SECONDS, trouble=True)

    def _may_mend_unseen(self, spec: Qwen3ModelSpec) -> bool:
        """Whether another content of a Secret or ConfigMap, which nobody watches, would make another Job."""
        settings = self.context.settings
        return bool((spec.token_secret_ref and settings.read_secrets) or ca_bundle(spec, settings))

    def _is_in_place(self, spec: Qwen3ModelSpec, status: Object) -> bool:
        """Whether the copy is complete by `status`, and no user has met a fault in it since it was verified."""
        return is_complete(spec, status, self.claim) and not suspected_at(status["model"], self.users, self._name)

    def _next_step(self, spec: Qwen3ModelSpec) -> Step:
        if is_complete(spec, self._status, self.claim):
            self.suspected_at = suspected_at(self._status["model"], self.users, self._name)
        if spec.storage.existing_claim:
            return Step.CHECK
        return Step.REPAIR if self.suspected_at else Step.DOWNLOAD

    def _decided_by(self) -> str:
        """Whose words of token, endpoint, size and scheduling the spec has."""
        holders = holders_of(self.obj) if is_made_for_users(self.obj) else []
        return f"{holders[0]['kind']} {holders[0]['name']}" if holders else f"Qwen3Model {self._name}"

    async def _base_is_ready(self, name: str) -> bool:
        """Whether the model that an adapter is for has its claim, filled; its events bring the next reconcile. One
        writer at a time: a volume may be one node's alone."""
        self.context.users.note(Key(QWEN3_MODELS.kind, self._namespace, self._name), {name})
        base = self.context.store.get(QWEN3_MODELS, self._namespace, name)
        if base is None:
            words = f"Qwen3Model {name} does not exist: create it, or name another"
            self.problems.append(Problem(Reason.QWEN3_MODEL_NOT_FOUND, words, "spec.adapterOf.name"))
            return False
        storage = (base.get("spec") or {}).get("storage") or {}
        if storage.get("existingClaim") or (base.get("spec") or {}).get("adapterOf"):
            why = "is an adapter itself" if base["spec"].get("adapterOf") else "lies on a claim of others"
            words = f"Qwen3Model {name} {why}: an adapter has no place there. Name a model with a claim of its own"
            self.problems.append(Problem(Reason.ADAPTER_WITHOUT_PLACE, words, "spec.adapterOf.name"))
            return False
        self.beside = [user["metadata"]["name"] for user in users_of(self.context, base)]
        return self.claim is not None and verified_copy(base) is not None

    async def _find_claim(self, spec: Qwen3ModelSpec) -> None:
        name = claim_name(self._name, spec)
        self.claim = await self.context.observe(CLAIMS, self._namespace, name)
        if spec.storage.existing_claim and self.claim is None:
            words, where = f"PersistentVolumeClaim {name} does not exist: create it", "spec.storage.existingClaim.name"
            self.problems.append(Problem(Reason.CLAIM_NOT_FOUND, words, where))

    def _knows_size(self, spec: Qwen3ModelSpec) -> bool:
        """Whether the claim is there or can be made: its size is known."""
        return not _makes_claim(spec) or size_is_known(spec, self.claim)

    async def _ensure_claim(
        self, spec: Qwen3ModelSpec, *, repository_bytes: int | None = None, needed_bytes: int | None = None
    ) -> None:
        """Have the claim, as large as it has to be. Others' claims are left alone."""
        if not _makes_claim(spec) or not (self._knows_size(spec) or repository_bytes):
            return
        needed_bytes = needed_bytes or (self._status.get("download") or {}).get("volumeBytes")
        size = claim_size(spec, self.claim, repository_bytes=repository_bytes, needed_bytes=needed_bytes)
        has = requested(self.claim)
        if self.claim is not None and has and quantity(size) > quantity(has):
            self.fixed_class = await class_without_growth(self.context, self.claim)
            if self.fixed_class and spec.storage.size is None:
                size = has  # the download may well have room enough
            elif needed_bytes:
                self.grows_to = size
        elif self.claim is not None and needed_bytes and is_bound(self.claim) and spec.storage.size is not None:
            self.fixed_class = await class_without_growth(self.context, self.claim)
        wanted = model_claim(self._namespace, self._name, self._uid, spec, size, self.retention)
        try:
            self.claim = await self.context.change(CLAIMS, self.claim, wanted)
        except ApiError as error:
            self.problems.append(refused(CLAIMS, wanted["metadata"]["name"], error))

    async def _work(self, spec: Qwen3ModelSpec, step: Step) -> None:
        """Have the Job for one step, and see what it says."""
        self.step, self.job, self.pods = step, None, []
        if not self.problems:
            await self._ensure_job(spec, step)
        if self.job is not None:
            await self._observe_job()

    async def _ensure_job(self, spec: Qwen3ModelSpec, step: Step) -> None:
        claim = (self.claim or {}).get("metadata", {}).get("uid", "")
        causes = [claim, requested(self.claim), *await self._references(spec)]
        if self.suspected_at:
            causes.append(self._status["model"].get("verifiedAt", ""))
        if self.problems:
            return
        settings = self.context.settings
        wanted = model_job(
            self._namespace,
            self._name,
            self._uid,
            spec,
            settings,
            step,
            causes=causes,
            beside=[*self.used_by, *self.beside],
        )
        name = wanted["metadata"]["name"]
        self.job = self.context.own(JOBS, self._namespace, name, self._uid)
        if self.job is not None and self._retry_is_due(name):
            await self._delete_jobs()
            self.job = None
        if self.job is None:
            await self._delete_jobs(lambda job: job["metadata"]["name"] != name)
            try:
                self.job = await self.context.ensure(JOBS, wanted)
            except OwnerGoing:
                pass  # of a deleted model of this name: the event of its end brings the next reconcile
            except ApiError as error:
                self.problems.append(refused(JOBS, name, error))

    async def _references(self, spec: Qwen3ModelSpec) -> list[str]:
        """Versions of Secret and ConfigMap that the Job needs; they change with the content. Or problems."""
        self.problems += check_endpoint(spec, self.context.settings, "spec.endpoint")
        wanted = []
        if token := spec.token_secret_ref:
            wanted.append(Reference(SECRETS, token.name, token.key, "spec.tokenSecretRef"))
        if bundle := ca_bundle(spec, self.context.settings):
            theirs = spec.download.ca_bundle_config_map_key_ref is not None
            where = "spec.download.caBundleConfigMapKeyRef" if theirs else "the operator's setting caBundleConfigMap"
            wanted.append(Reference(CONFIG_MAPS, *bundle, where))
        found = await find_references(self.context, self._namespace, wanted)
        self.problems += found.problems
        return list(found.versions)

    def _retry_is_due(self, name: str) -> bool:
        download = self._status.get("download") or {}
        due = parse_time(download.get("retryAt"))
        over = job_result(self.job) is not None and download.get("job") == name
        return over and due is not None and due <= self.context.now()

    async def _observe_job(self) -> None:
        assert self.job is not None
        self.pods = await views_of(self.context, await pods_of_job(self.context, self.job), None)
        if not self.pods:
            self.pods_refused = await why_no_pods(self.context, self.job)
        for view in self.pods:
            if view.pod.get("status", {}).get("phase") == "Running":
                self.log_tail = await self.context.cluster.logs(self._namespace, view.name, CONTAINER, tail=5)

    async def _observe_claim_trouble(self) -> None:
        if self.claim is None or is_bound(self.claim):
            return
        warnings = await self.context.events_about(self.claim, "Warning")
        if not warnings:
            return
        self.claim_events = [event_words(event) for event in warnings]
        others = await self.context.events_about(self.claim, "Normal")
        waits = [last_seen(event) for event in others if event.get("reason") in _WAITS_FOR_POD]
        self.claim_waits = bool(waits) and waits[-1] > last_seen(warnings[-1])

    async def _delete_jobs(self, which: Callable[[Object], bool] = lambda _: True) -> None:
        """Remove Jobs of this model: of a spec before, or failed and due again."""
        for job in self.context.store.find(JOBS, OWNER, self._uid):
            ours = is_controlled_by(job, self._uid) and not job["metadata"].get("deletionTimestamp")
            if ours and which(job):
                await self.context.delete(JOBS, job)


def _makes_claim(spec: Qwen3ModelSpec) -> bool:
    """Whether the claim is this model's own."""
    return spec.storage.existing_claim is None and spec.adapter_of is None

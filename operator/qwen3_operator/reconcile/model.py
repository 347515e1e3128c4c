"""One look at a Qwen3Model: claim, download Job, status."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from qwen3_operator import metrics
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.cluster import ApiError, Object
from qwen3_operator.desired.claim import claim_size, model_claim
from qwen3_operator.desired.download import CONTAINER, download_job
from qwen3_operator.engine.problem import Problem
from qwen3_operator.kinds import CLAIMS, JOBS, SECRETS
from qwen3_operator.naming import MODEL_LABEL, QWEN3_DEPLOYMENTS, QWEN3_MODELS, SELECTOR, claim_name
from qwen3_operator.reconcile.context import Context, Key, invalid_spec, refused
from qwen3_operator.reconcile.pods import view_pods
from qwen3_operator.status.model import ModelView, is_complete, job_ended, job_failed, model_status
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.story import parse_time

PROGRESS_SECONDS = 5.0
TROUBLE_SECONDS = 10.0
"""How soon what nobody watches (a Secret, a StorageClass, Events) is looked at again while it is in the way."""


async def reconcile_model(context: Context, key: Key) -> float | None:
    """Look at one Qwen3Model. Returns the seconds after which to look again, None for the resync."""
    obj = await context.cluster.get(QWEN3_MODELS, key.namespace, key.name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        metrics.forget_conditions(*key)
        return None
    look = _Look(context, obj)
    try:
        spec = Qwen3ModelSpec.model_validate(obj["spec"])
    except ValidationError as error:
        look.problems.append(invalid_spec(error.errors()))
        return None
    await look.observe(spec)
    status = model_status(key.name, spec, obj["metadata"]["generation"], obj.get("status") or {}, look.view())
    await context.write_status(QWEN3_MODELS, obj, status)
    return look.again(spec, status)


@dataclass
class _Look:
    context: Context
    obj: Object
    problems: list[Problem] = field(default_factory=list)
    claim: Object | None = None
    claim_events: list[str] = field(default_factory=list)
    job: Object | None = None
    pods: list[PodView] = field(default_factory=list)
    log_tail: str = ""
    used_by: list[str] = field(default_factory=list)

    @property
    def _namespace(self) -> str:
        return str(self.obj["metadata"]["namespace"])

    @property
    def _name(self) -> str:
        return str(self.obj["metadata"]["name"])

    def view(self) -> ModelView:
        return ModelView(
            now=self.context.now(),
            problems=self.problems,
            claim=self.claim,
            claim_events=self.claim_events,
            job=self.job,
            pods=self.pods,
            log_tail=self.log_tail,
            used_by=self.used_by,
        )

    async def observe(self, spec: Qwen3ModelSpec) -> None:
        """Bring claim and Job to where they should be and see what came of it."""
        self.used_by = await self._users(spec)
        await self._ensure_claim(spec)
        if is_complete(spec, self.obj.get("status") or {}, self.claim):
            return
        if spec.suspend:
            await self._delete_jobs(keep="")
            return
        if not self.problems:
            await self._ensure_job(spec)
        if self.job is not None:
            await self._observe_job()
        await self._observe_claim_trouble()

    def again(self, spec: Qwen3ModelSpec, status: Object) -> float | None:
        """Seconds until the next look, where no watch will tell."""
        if is_complete(spec, status, self.claim) or spec.suspend:
            return None
        retry: datetime | None = parse_time((status.get("download") or {}).get("retryAt"))
        if job_failed(self.job, self.pods) and retry is not None:
            return max(1.0, (retry - self.context.now()).total_seconds())
        if any(view.pod.get("status", {}).get("phase") == "Running" for view in self.pods):
            return PROGRESS_SECONDS
        return TROUBLE_SECONDS

    async def _users(self, spec: Qwen3ModelSpec) -> list[str]:
        """Qwen3Deployments whose status names this model."""
        found = await self.context.cluster.list(QWEN3_DEPLOYMENTS, self._namespace, fields=f"spec.model.id={spec.id}")
        return [
            d["metadata"]["name"]
            for d in found
            if ((d.get("status") or {}).get("model") or {}).get("name") == self._name
            or any(r["uid"] == d["metadata"]["uid"] for r in self.obj["metadata"].get("ownerReferences") or [])
        ]

    async def _ensure_claim(self, spec: Qwen3ModelSpec) -> None:
        name = claim_name(self._name, spec)
        self.claim = await self.context.cluster.get(CLAIMS, self._namespace, name)
        if spec.storage.existing_claim:
            if self.claim is None:
                self.problems.append(
                    Problem(
                        "ClaimNotFound",
                        f"PersistentVolumeClaim {name} does not exist",
                        "spec.storage.existingClaim.name",
                    )
                )
            return
        size = claim_size(spec, self.claim)
        wanted = model_claim(self._namespace, self._name, self.obj["metadata"]["uid"], spec, size)
        try:
            self.claim = await self.context.ensure(CLAIMS, wanted, seen=self.claim)
        except ApiError as error:
            if not error.final:
                raise
            self.problems.append(refused(CLAIMS, name, error))

    async def _ensure_job(self, spec: Qwen3ModelSpec) -> None:
        token, version = spec.token_secret_ref, ""
        if token:
            missing = await self.context.missing_key(
                self._namespace, SECRETS, token.name, token.key, "spec.tokenSecretRef"
            )
            if missing:
                self.problems.append(missing)
                return
            version = await self.context.secret_version(self._namespace, token.name)
        wanted = download_job(
            self._namespace,
            self._name,
            self.obj["metadata"]["uid"],
            spec,
            self.context.settings,
            claim_uid=(self.claim or {}).get("metadata", {}).get("uid", ""),
            token_version=version,
        )
        name = wanted["metadata"]["name"]
        self.job = await self.context.cluster.get(JOBS, self._namespace, name)
        if self.job is not None and self._retry_is_due(name):
            await self._delete_jobs(keep="")
            self.job = None
        if self.job is None:
            await self._delete_jobs(keep=name)
            try:
                self.job = await self.context.ensure(JOBS, wanted)
            except ApiError as error:
                if not error.final:
                    raise
                self.problems.append(refused(JOBS, name, error))

    def _retry_is_due(self, name: str) -> bool:
        download = (self.obj.get("status") or {}).get("download") or {}
        due = parse_time(download.get("retryAt"))
        over = job_ended(self.job) is not None and download.get("job") == name
        return over and due is not None and due <= self.context.now()

    async def _observe_job(self) -> None:
        assert self.job is not None
        labels = f"batch.kubernetes.io/job-name={self.job['metadata']['name']}"
        self.pods = await view_pods(self.context, self._namespace, labels, CONTAINER)
        for view in self.pods:
            if view.pod.get("status", {}).get("phase") == "Running":
                self.log_tail = await self.context.cluster.logs(self._namespace, view.name, CONTAINER, tail=5)

    async def _observe_claim_trouble(self) -> None:
        if self.claim is not None and self.claim.get("status", {}).get("phase") != "Bound":
            self.claim_events = await self.context.warnings_about(self.claim)

    async def _delete_jobs(self, keep: str) -> None:
        """Remove the Jobs of this model other than `keep`: of a spec before, or failed and due again."""
        jobs = await self.context.cluster.list(JOBS, self._namespace, labels=f"{SELECTOR},{MODEL_LABEL}={self._name}")
        for job in jobs:
            meta = job["metadata"]
            if meta["name"] != keep and not meta.get("deletionTimestamp"):
                await self.context.cluster.delete(JOBS, self._namespace, meta["name"], uid=meta["uid"])

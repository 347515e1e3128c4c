"""Freeing the folders of revisions before, when no server runs on them any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import DEPLOYMENTS, JOBS, PODS
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.naming import (
    MODEL_LABEL,
    MODELS_DIR,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    SELECTOR,
    claim_name,
    model_path,
)
from qwen3_operator.reconcile.context import Context
from qwen3_operator.status.download import LONGEST_RETRY
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.times import parse_time


async def free_superseded(context: Context, model: Object, spec: Qwen3ModelSpec, users: Sequence[str]) -> list[str]:
    """Have a Job remove the folders that `status.superseded` of the Qwen3Model names, one after the other, once nothing
    uses any of them. Returns those that are gone."""
    superseded = (model.get("status") or {}).get("superseded") or []
    if not superseded or spec.suspend or await _servers_are_elsewhere(context, model, spec):
        return []
    meta, first = model["metadata"], superseded[0]
    wanted = model_job(
        meta["namespace"],
        meta["name"],
        meta["uid"],
        spec,
        context.settings,
        Step.REMOVE,
        beside=users,
        revision=first.get("revision") or spec.revision,
        path=first["path"],
    )
    job = await context.cluster.get(JOBS, meta["namespace"], wanted["metadata"]["name"])
    if job is None:
        job = await context.change(JOBS, None, wanted)
    if job_result(job) == "Failed" and _rested(context, job):
        await context.cluster.delete(JOBS, meta["namespace"], job["metadata"]["name"], uid=job["metadata"]["uid"])
    return [first["path"]] if job_result(job) == "Complete" else []


async def _servers_are_elsewhere(context: Context, model: Object, spec: Qwen3ModelSpec) -> bool:
    """Whether anything of the namespace is, or may be, on another folder of the claim than the model's present one:
    a Qwen3Deployment or another Qwen3Model by its status, a Deployment or Job by its template, a pod by its spec."""
    namespace, name = model["metadata"]["namespace"], model["metadata"]["name"]
    claim, path = claim_name(name, spec), model_path(spec)
    models = [it for it in await context.cluster.list(QWEN3_MODELS, namespace) if it["metadata"]["name"] != name]
    for user in [*models, *await context.cluster.list(QWEN3_DEPLOYMENTS, namespace)]:
        served = (user.get("status") or {}).get("model") or {}
        if served.get("claim") == claim and served.get("path") not in (None, path):
            return True
    servers = await context.cluster.list(DEPLOYMENTS, namespace, labels=SELECTOR)
    jobs = [job for job in await context.cluster.list(JOBS, namespace, labels=SELECTOR) if not job_result(job)]
    makers = [*servers, *(job for job in jobs if job["metadata"]["labels"].get(MODEL_LABEL) != name)]
    if any(_may_use_another(maker["spec"]["template"]["spec"], claim, path) for maker in makers):
        return True
    pods = await context.cluster.list(PODS, namespace)
    return any(
        _may_use_another(pod["spec"], claim, path)
        for pod in pods
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and (pod["metadata"].get("labels") or {}).get(MODEL_LABEL) != name
    )


def _may_use_another(pod: Object, claim: str, path: str) -> bool:
    """Whether a PodSpec mounts the claim without naming the folder."""
    claims = [(v.get("persistentVolumeClaim") or {}).get("claimName") for v in pod.get("volumes") or []]
    return claim in claims and f"{MODELS_DIR}/{path}" not in json.dumps(pod["containers"])


def _rested(context: Context, job: Object) -> bool:
    """Whether a Job that failed may be tried again."""
    ended = next((c.get("lastTransitionTime") for c in job["status"]["conditions"] if c["type"] == "Failed"), None)
    wait = timedelta(seconds=LONGEST_RETRY * context.settings.download_retry_seconds)
    moment = parse_time(ended)
    return moment is None or context.now() - moment >= wait

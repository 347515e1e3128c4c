"""Freeing the folders of revisions before, when no server runs on them any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import DEPLOYMENTS, JOBS, PODS
from qwen3_operator.controller.ownership import OwnerGoing
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.desired.rollout import has_completed
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import MODEL_LABEL, QWEN3_MODELS, claim_name, model_path
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.in_use import may_use_another, mounts
from qwen3_operator.reconcile.pods import pods_of_job
from qwen3_operator.status.download import LONGEST_RETRY
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.report import final_report


@dataclass
class Freed:
    """What came of the folders of revisions before."""

    removed: list[str] = field(default_factory=list)
    """Paths of those that are gone."""
    problems: list[Problem] = field(default_factory=list)
    """Why others are not."""


async def free_superseded(context: Context, model: Object, spec: Qwen3ModelSpec, users: Sequence[str]) -> Freed:
    """Have Jobs remove the folders that `status.superseded` of the Qwen3Model names, one after the other, once nothing
    uses any of them; one that cannot be removed is not in the way of the others. Raises ApiError that may pass."""
    meta, freed = model["metadata"], Freed()
    for folder in (model.get("status") or {}).get("superseded") or []:
        path, revision = folder["path"], folder.get("revision") or spec.revision
        wanted = model_job(
            meta["namespace"],
            meta["name"],
            meta["uid"],
            spec,
            context.settings,
            Step.REMOVE,
            beside=users,
            revision=revision,
            path=path,
        )
        job = context.own(JOBS, meta["namespace"], wanted["metadata"]["name"], meta["uid"])
        if job is None:
            if not await _servers_are_elsewhere(context, model, spec):
                await _make(context, wanted, freed)
            break
        if job_result(job) == "Complete":
            freed.removed.append(path)
        if job_result(job) != "Failed":
            break
        freed.problems.append(await _why(context, job, path))
        if _rested(context, job):
            await context.delete(JOBS, job, wanted)
            break
    return freed


async def _make(context: Context, wanted: Object, freed: Freed) -> None:
    try:
        await context.ensure(JOBS, wanted)
    except OwnerGoing:
        pass  # of a deleted model of this name: the event of its end brings the next reconcile
    except ApiError as error:
        freed.problems.append(refused(JOBS, wanted["metadata"]["name"], error))


async def _why(context: Context, job: Object, path: str) -> Problem:
    """Why a folder could not be removed, in the words of its Job's last pod."""
    pods = [PodView(pod) for pod in await pods_of_job(context, job)]
    report = final_report(pods, "Failed") or {}
    words = report.get("message") or "its Job ended without a report"
    reason = Reason.of(report.get("reason") or Reason.DOWNLOAD_FAILED)
    return Problem(reason, f"the folder {path} of a revision before is not removed (it is tried again): {words}")


async def _servers_are_elsewhere(context: Context, model: Object, spec: Qwen3ModelSpec) -> bool:
    """Whether anything of the namespace is, or may be, on another folder of the claim than the model's present one:
    another Qwen3Model, a Deployment or Job by its template, any pod by its spec. Pods are read live: what is removed is
    gone, and not all of them carry our labels."""
    namespace, name = model["metadata"]["namespace"], model["metadata"]["name"]
    claim, path = claim_name(name, spec), model_path(spec)
    for other in context.store.list(QWEN3_MODELS, namespace):
        copy = (other.get("status") or {}).get("model") or {}
        if (other.get("spec") or {}).get("adapterOf"):
            continue  # beside the model, and never in one of its folders
        if other["metadata"]["name"] != name and copy.get("claim") == claim and copy.get("path") not in (None, path):
            return True
    jobs = [job for job in context.store.list(JOBS, namespace) if not job_result(job)]
    others = [job for job in jobs if (job["metadata"].get("labels") or {}).get(MODEL_LABEL) != name]
    makers = [*context.store.list(DEPLOYMENTS, namespace), *others]
    if any(UNDECODABLE in it or may_use_another(it["spec"]["template"]["spec"], claim, path) for it in makers):
        return True
    servers = [it for it in context.store.list(DEPLOYMENTS, namespace) if mounts(it["spec"]["template"]["spec"], claim)]
    if any(not has_completed(it) for it in servers):
        return True  # it may have to go back to servers of a revision before
    return any(
        may_use_another(pod["spec"], claim, path)
        for pod in await context.cluster.list(PODS, namespace)
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and (pod["metadata"].get("labels") or {}).get(MODEL_LABEL) != name
    )


def _rested(context: Context, job: Object) -> bool:
    """Whether a Job that failed may be tried again."""
    ended = next((c.get("lastTransitionTime") for c in job["status"]["conditions"] if c["type"] == "Failed"), None)
    wait = timedelta(seconds=LONGEST_RETRY * context.settings.download_retry_seconds)
    moment = parse_time(ended)
    return moment is None or context.now() - moment >= wait

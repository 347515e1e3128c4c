"""Status of a Qwen3Model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.conditions import MODEL_TYPES, Condition, Type
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import claim_name, model_path
from qwen3_operator.status.pods import PodView, Trouble, pod_trouble
from qwen3_operator.status.report import final_report, latest_progress
from qwen3_operator.status.story import Story, parse_time, timestamp

Object = Mapping[str, Any]

FIRST_RETRY_SECONDS = 15
LAST_RETRY_SECONDS = 900


@dataclass(frozen=True)
class ModelView:
    """What was seen of a Qwen3Model and its children at one moment."""

    now: datetime
    problems: Sequence[Problem] = ()
    """What keeps the Job from being made: a missing Secret, a refused child."""
    claim: Object | None = None
    claim_events: Sequence[str] = ()
    """Warnings about the claim, newest last."""
    job: Object | None = None
    pods: Sequence[PodView] = ()
    """Pods of the Job."""
    log_tail: str = ""
    used_by: Sequence[str] = field(default_factory=list)


def is_complete(spec: Qwen3ModelSpec, status: Object, claim: Object | None) -> bool:
    """Whether `status` says that exactly this revision is verified and in place on `claim`: then no Job is needed."""
    copy = status.get("model") or {}
    if claim is None or not copy.get("commit") or copy.get("claimUid") != claim["metadata"]["uid"]:
        return False
    return (copy.get("revision"), copy.get("path")) == (spec.revision, model_path(spec))


def job_ended(job: Object | None) -> str | None:
    """ "Complete", "Failed", or None while the Job goes on."""
    for condition in (job or {}).get("status", {}).get("conditions") or []:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return None


def job_failed(job: Object | None, pods: Sequence[PodView]) -> bool:
    """Whether the Job is over without a verified copy: it failed, or its pods took their report with them."""
    ended = job_ended(job)
    return ended == "Failed" or (ended == "Complete" and final_report(pods, "Complete") is None)


def retry_at(failures: int, ended: datetime) -> datetime:
    """When a Job that failed for the `failures`-th time in a row is made anew."""
    return ended + timedelta(seconds=min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** max(0, failures - 1)))


def model_status(name: str, spec: Qwen3ModelSpec, generation: int, previous: Object, view: ModelView) -> dict[str, Any]:
    """The status of the Qwen3Model `name`, from its `previous` status and what was seen."""
    story = Story(MODEL_TYPES)
    story.tell(Type.ACCEPTED, "True", "Accepted")
    download = _download(previous.get("download") or {}, view)
    copy = dict(previous["model"]) if is_complete(spec, previous, view.claim) else _verified_copy(name, spec, view)
    _tell_volume(story, view)
    _tell_download(story, spec, download, copy, view)
    idle = None
    if spec.suspend and not copy:
        idle = Condition(type="-", status="False", reason="Suspended", message="spec.suspend is true")
    story.summarize("Ready", _in_place(copy), idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": story.written(dict(previous), generation=generation, now=view.now),
    }
    if view.used_by:  # the API server drops a set that becomes empty, and each look would write it again
        result["usedBy"] = sorted(view.used_by)
    if copy:
        result["model"] = copy
    elif _still_there(previous.get("model"), view.claim):
        result["model"] = previous["model"]  # the copy of the revision before goes on being served
    if download:
        result["download"] = download
    if capacity := ((view.claim or {}).get("status", {}).get("capacity") or {}).get("storage"):
        result["size"] = capacity
    return result


def _verified_copy(name: str, spec: Qwen3ModelSpec, view: ModelView) -> dict[str, Any]:
    report = final_report(view.pods, "Complete")
    if report is None or view.claim is None or job_ended(view.job) != "Complete":
        return {}
    fields = {key: report[key] for key in ("commit", "bytes", "files", "weightsBytes", "config") if report.get(key)}
    # A hub may not know commits; what was verified is then named by the revision itself.
    claim = {"claim": claim_name(name, spec), "claimUid": view.claim["metadata"]["uid"]}
    return {"commit": spec.revision, "revision": spec.revision} | claim | fields | {"path": model_path(spec)}


def _still_there(copy: Object | None, claim: Object | None) -> bool:
    """Whether a copy is on the claim that is there now, and not on one that was deleted."""
    return bool(copy and claim and copy.get("claimUid") == claim["metadata"]["uid"])


def _in_place(copy: Object) -> str:
    return f"{copy.get('files', '?')} files, {copy.get('bytes', 0):,} bytes at commit {copy.get('commit', '?')}"


def _download(before: Object, view: ModelView) -> dict[str, Any]:
    job = view.job
    if job is None:
        return dict(before)
    meta, status = job["metadata"], job.get("status", {})
    same_job = before.get("job") == meta["name"] and before.get("startedAt") == status.get("startTime")
    kept = ("failures", "bytesDone", "bytesTotal") if before.get("job") == meta["name"] else ("bytesDone", "bytesTotal")
    result = {k: v for k, v in before.items() if same_job or k in kept}
    result["job"] = meta["name"]
    if status.get("startTime"):
        result["startedAt"] = status["startTime"]
    progress = latest_progress(view.log_tail)
    if progress and _moved(before, progress):
        result |= progress
    if job_failed(job, view.pods):
        if not (same_job and before.get("retryAt")):
            moment = next((c.get("lastTransitionTime") for c in status["conditions"] if c["status"] == "True"), None)
            failures = int(result.get("failures") or 0) + 1
            at = retry_at(failures, parse_time(moment) or view.now)
            result |= {"failures": failures, "finishedAt": moment or timestamp(view.now), "retryAt": timestamp(at)}
            result.pop("etaSeconds", None)
    elif job_ended(job) == "Complete":
        report = final_report(view.pods, "Complete") or {}
        total = report.get("bytes")
        numbers = {"bytesDone": total, "bytesTotal": total, "bytesPerSecond": report.get("bytesPerSecond")}
        result |= {k: int(v) for k, v in numbers.items() if v is not None}
        for stale in ("etaSeconds", "failures", "retryAt"):
            result.pop(stale, None)
        result["finishedAt"] = status.get("completionTime") or timestamp(view.now)
    return result


def _moved(before: Object, progress: Object) -> bool:
    """Whether progress is worth a write: it moved by 1 %, it is the first, or it is the end."""
    done, was, total = progress.get("bytesDone", 0), before.get("bytesDone"), progress.get("bytesTotal", 0)
    return was is None or before.get("bytesTotal") != total or done == total or abs(done - was) * 100 >= max(total, 1)


def _tell_volume(story: Story, view: ModelView) -> None:
    claim = view.claim
    if claim is None:
        return
    phase = claim.get("status", {}).get("phase")
    name = claim["metadata"]["name"]
    if phase == "Bound":
        story.tell(Type.VOLUME_BOUND, "True", "Bound", f"claim {name}")
    elif phase == "Lost":
        story.tell(
            Type.VOLUME_BOUND,
            "False",
            "VolumeLost",
            f"the volume of claim {name} is gone: delete the claim",
            stalled=True,
        )
    elif view.claim_events:
        story.tell(
            Type.VOLUME_BOUND,
            "False",
            "VolumeNotBound",
            f"claim {name} is not bound: {view.claim_events[-1]}",
            stalled=True,
        )
    else:
        # WaitForFirstConsumer: it binds when the Job's pod is scheduled.
        story.tell(Type.VOLUME_BOUND, "Unknown", "Pending", f"claim {name} waits to be bound")


def _tell_download(story: Story, spec: Qwen3ModelSpec, download: Object, copy: Object, view: ModelView) -> None:
    if copy:
        story.tell(Type.DOWNLOADED, "True", "Verified", _in_place(copy))
    elif view.problems:
        problem = view.problems[0]
        story.tell(Type.DOWNLOADED, "False", problem.reason, problem.message, stalled=True)
    elif spec.suspend:
        story.tell(Type.DOWNLOADED, "False", "Suspended", "spec.suspend is true")
    elif job_failed(view.job, view.pods):
        report: Object = final_report(view.pods, "Failed") or {}
        again = f" (tried again at {download['retryAt']})" if download.get("retryAt") else ""
        story.tell(
            Type.DOWNLOADED,
            "False",
            report.get("reason") or "DownloadFailed",
            (report.get("message") or "the download Job ended without a report") + again,
            stalled=True,
        )
    elif trouble := _pod_trouble(view):
        story.tell(Type.DOWNLOADED, "False", trouble.reason, trouble.message, stalled=trouble.needs_a_person)
    elif view.job is None:
        story.tell(Type.DOWNLOADED, "False", "Waiting", "the download Job is not made yet")
    elif attempt := final_report(view.pods, "Failed"):
        story.tell(Type.DOWNLOADED, "False", attempt["reason"], f"{attempt['message']} (the Job tries again)")
    else:
        story.tell(Type.DOWNLOADED, "False", "Downloading", _progress(download))


def _pod_trouble(view: ModelView) -> Trouble | None:
    """Why the Job's pod cannot run. How a pod ended is in its report, not here."""
    waiting = [pod for pod in view.pods if not pod.failed]
    return pod_trouble(waiting, remedy={"Image": "check the operator's setting for the downloader's image"})


def _progress(download: Object) -> str:
    done, total = download.get("bytesDone"), download.get("bytesTotal")
    return f"{done:,} of {total:,} bytes" if done is not None and total else "the download Job runs"

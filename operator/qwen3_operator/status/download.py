"""`status.download` of a Qwen3Model: how far its Job is, how it ended, when it is made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.conditions import shorten
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.controller.quantity import gibibytes, quantity
from qwen3_operator.desired.download import Step
from qwen3_operator.engine.host import volume_bytes
from qwen3_operator.naming import model_path
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.report import final_report, latest_progress
from qwen3_operator.status.sizes import progress_of
from qwen3_operator.status.view import FIRST_RETRY_SECONDS, ModelView

Object = Mapping[str, Any]

LONGEST_RETRY = 60
"""Times the first wait."""
PROGRESS_SECONDS = 5
"""Between two writes of the progress."""

_OWN_FILE_SYSTEM = 1.2
"""A file system is the claim's own when it is at most so many times the claim's capacity: drivers round up."""
_OF_THE_COPY = ("bytesDone", "bytesTotal", "filesDone", "filesTotal", "volumeBytes")


def job_failed(job: Object | None, pods: Sequence[PodView]) -> bool:
    """Whether the Job is over without what it was made for: it failed, or its pods took their report with them."""
    ended = job_result(job)
    return ended == "Failed" or (ended == "Complete" and final_report(pods, "Complete") is None)


def retry_at(failures: int, ended: datetime, first_seconds: float = FIRST_RETRY_SECONDS) -> datetime:
    """When a Job that failed for the `failures`-th time in a row is made anew."""
    return ended + timedelta(seconds=first_seconds * min(LONGEST_RETRY, 2 ** min(max(0, failures - 1), 16)))


def needed_volume(pods: Sequence[PodView], claim: Object | None) -> int | None:
    """Bytes of the volume that the Job's report says would be enough; None where a larger claim would not help: the
    file system is not the claim's own (a folder of the node's disk, an export without quota)."""
    report = final_report(pods, "Failed") or {}
    capacity = ((claim or {}).get("status", {}).get("capacity") or {}).get("storage")
    if capacity and report.get("fileSystemBytes", 0) > _OWN_FILE_SYSTEM * float(quantity(capacity)):
        return None
    return int(report["volumeBytes"]) if report.get("volumeBytes") else None


def enough_volume(download: Object) -> str:
    """The size of claim that holds what the download needs, with head-room; empty where nobody has said."""
    needed = download.get("volumeBytes")
    return gibibytes(volume_bytes(needed)) if needed else ""


def download_status(spec: Qwen3ModelSpec, before: Object, view: ModelView) -> dict[str, Any]:
    """The new `status.download`, from the one `before` and what was seen."""
    result = _download(spec, before, view)
    words = progress_of(result.get("bytesDone"), result.get("bytesTotal")) if "bytesDone" in result else ""
    return {key: value for key, value in result.items() if key != "progress"} | ({"progress": words} if words else {})


def _download(spec: Qwen3ModelSpec, before: Object, view: ModelView) -> dict[str, Any]:
    job = view.job
    if job is None:
        return dict(before)
    if _is_older(before, view.claim):  # what was there went with the claim before
        before = {key: before[key] for key in ("path", "volumeBytes") if key in before}
    meta, status = job["metadata"], job.get("status", {})
    same_name, same_copy = before.get("job") == meta["name"], before.get("path") == model_path(spec)
    same_job = same_name and before.get("startedAt") == status.get("startTime")
    kept = {*(_OF_THE_COPY if same_copy else ()), *(("failures", "failure") if same_name else ())}
    result = {key: value for key, value in before.items() if same_job or key in kept}
    result |= {"job": meta["name"], "revision": spec.revision, "path": model_path(spec)}
    if status.get("startTime"):
        result["startedAt"] = status["startTime"]
    progress = latest_progress(view.log_tail)
    if progress and _moved(result, progress, view.now):
        if progress.get("bytesDone", 0) > int(result.get("bytesDone") or 0):
            result.pop("failure", None)  # it has got further than the try before
        result |= _growing(result, progress) | {"observedAt": timestamp(view.now)}
    if job_failed(job, view.pods):
        if not (same_job and before.get("retryAt")):
            result |= _failed(result, status, view)
            result.pop("etaSeconds", None)
        result.setdefault("failure", _failure(view))
    elif job_result(job) == "Complete":
        result = _completed(result, status, view)
    return result


def _is_older(download: Object, claim: Object | None) -> bool:
    """Whether the download began before this claim was made."""
    made = parse_time((claim or {}).get("metadata", {}).get("creationTimestamp"))
    began = parse_time(download.get("startedAt"))
    return made is not None and began is not None and began < made


def _moved(before: Object, progress: Object, now: datetime) -> bool:
    """Whether progress is worth a write: it is the first, or the end, or it moved by 1 % in no less than 5 s."""
    done, was, total = progress.get("bytesDone", 0), before.get("bytesDone"), progress.get("bytesTotal", 0)
    if was is None or before.get("bytesTotal") != total or "observedAt" not in before:
        return True
    if done == total:
        return bool(was != done)
    read = parse_time(before["observedAt"])
    rested = read is None or now - read >= timedelta(seconds=PROGRESS_SECONDS)
    return rested and (done - was) * 100 >= max(total, 1)


def _growing(before: Object, progress: dict[str, int]) -> dict[str, int]:
    """Progress never goes back while the total is the same: a pod that was killed counts again what it had read."""
    if before.get("bytesTotal") != progress.get("bytesTotal"):
        return progress
    return progress | {
        key: max(progress[key], int(before.get(key) or 0)) for key in ("bytesDone", "filesDone") if key in progress
    }


def _failed(download: Object, status: Object, view: ModelView) -> dict[str, Any]:
    moment = next((c.get("lastTransitionTime") for c in status["conditions"] if c["status"] == "True"), None)
    failures = int(download.get("failures") or 0) + 1
    at = retry_at(failures, parse_time(moment) or view.now, view.first_retry_seconds)
    needed = needed_volume(view.pods, view.claim)
    return {
        "failures": failures,
        "failure": _failure(view),
        "finishedAt": moment or timestamp(view.now),
        "retryAt": timestamp(at),
        **({"volumeBytes": needed} if needed else {}),
    }


def _failure(view: ModelView) -> dict[str, str]:
    report = final_report(view.pods, "Failed") or {}
    message = report.get("message") or "the Job ended without a report"
    return {"reason": str(report.get("reason") or Reason.DOWNLOAD_FAILED), "message": shorten(message)}


def _completed(download: dict[str, Any], status: Object, view: ModelView) -> dict[str, Any]:
    report = final_report(view.pods, "Complete") or {}
    total, files = report.get("bytes"), report.get("files")
    numbers = {"bytesTotal": total, "filesTotal": files}
    if view.step is not Step.LIST:
        numbers |= {"bytesDone": total, "filesDone": files, "bytesPerSecond": report.get("bytesPerSecond")}
    stale = ("etaSeconds", "failures", "failure", "retryAt", "volumeBytes", "observedAt")
    result = {key: value for key, value in download.items() if key not in stale}
    result |= {key: int(value) for key, value in numbers.items() if value is not None}
    return result | {"finishedAt": status.get("completionTime") or timestamp(view.now)}

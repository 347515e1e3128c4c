"""Status of a Qwen3Model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from qwen3_operator.api.conditions import MODEL_TYPES, Type
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.claim import requested
from qwen3_operator.desired.download import Step
from qwen3_operator.engine.diagnosis import Cause, diagnose_claim
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import claim_name, model_path
from qwen3_operator.status.accepted import in_words, set_accepted
from qwen3_operator.status.conditions import Before, Conditions, Idle
from qwen3_operator.status.download import download_status, enough_volume, job_failed, needed_volume
from qwen3_operator.status.jobs import job_result, started_at
from qwen3_operator.status.pods import Trouble, pod_trouble, trouble_of_refused
from qwen3_operator.status.report import final_report
from qwen3_operator.status.sizes import readable
from qwen3_operator.status.view import ModelView
from qwen3_operator.status.without_effect import of_model

Object = Mapping[str, Any]

SHOWN_USERS = 20
"""Users whose names are in the status."""
MOST_SUPERSEDED = 64
"""Folders in the status."""


def is_complete(spec: Qwen3ModelSpec, status: Object, claim: Object | None) -> bool:
    """Whether `status` says that exactly this revision is verified and in place on `claim`: then no Job is needed."""
    copy = status.get("model") or {}
    if claim is None or not copy.get("commit") or copy.get("claimUid") != claim["metadata"]["uid"]:
        return False
    return (copy.get("revision"), copy.get("path")) == (spec.revision, model_path(spec))


def unreadable_status(problem: Problem, generation: int, previous: Object, now: datetime) -> dict[str, Any]:
    """The status of a Qwen3Model whose spec this operator cannot read; what is known of its copy stays."""
    conditions = Conditions(MODEL_TYPES, Before(previous, generation, now))
    conditions.keep((Type.VOLUME_BOUND, Type.DOWNLOADED))
    set_accepted(conditions, [problem], ())
    conditions.summarize(Reason.READY, "")
    written = conditions.as_status(previous, generation=generation, now=now)
    return {**previous, "observedGeneration": generation, "conditions": written}


def model_status(name: str, spec: Qwen3ModelSpec, generation: int, previous: Object, view: ModelView) -> dict[str, Any]:
    """The status of the Qwen3Model `name`, from its `previous` status and what was seen."""
    conditions = Conditions(MODEL_TYPES, Before(previous, generation, view.now))
    download = download_status(spec, previous.get("download") or {}, view)
    if download.get("path") in view.removed:
        download = {}  # nothing is there of it any more
    in_place = is_complete(spec, previous, view.claim) and not view.suspected_at
    copy = dict(previous["model"]) if in_place else _verified_copy(name, spec, view)
    _set_accepted(conditions, spec, copy, view)
    _set_volume(conditions, view)
    _set_download(conditions, spec, download, copy, view)
    idle = None
    if spec.suspend and not copy:
        idle = Idle(reason=Reason.SUSPENDED, message="spec.suspend is true")
    conditions.summarize(Reason.READY, _in_place(spec, copy), idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.as_status(previous, generation=generation, now=view.now),
    }
    if view.used_by:  # the API server drops a set that becomes empty, and it would be written again and again
        result["usedBy"] = sorted(set(view.used_by[:SHOWN_USERS]))
    result |= {"users": len(view.used_by), "retentionPolicy": view.retention}
    # The files that are in place come from where they came from, whatever the spec says since.
    endpoint = (in_place and previous.get("endpoint")) or view.endpoint
    result |= {key: it for key, it in (("decidedBy", view.decided_by), ("endpoint", endpoint)) if it}
    if copy:
        result["model"] = copy
    elif _still_there(previous.get("model"), view.claim):
        result["model"] = previous["model"]  # goes on being served, until the next revision or verification is there
    if download:
        result["download"] = download
    if superseded := _superseded(spec, previous, result.get("model"), view):
        result["superseded"] = superseded
    if capacity := ((view.claim or {}).get("status", {}).get("capacity") or {}).get("storage"):
        result["size"] = capacity
    return result


def _verified_copy(name: str, spec: Qwen3ModelSpec, view: ModelView) -> dict[str, Any]:
    report = final_report(view.pods, "Complete")
    if report is None or view.claim is None or view.step is Step.LIST or job_result(view.job) != "Complete":
        return {}
    reported = ("commit", "bytes", "files", "weightsBytes", "config", "checkpoint")
    fields = {key: report[key] for key in reported if report.get(key)}
    # A hub may not know commits; what was verified is then named by the revision itself.
    claim = {"claim": claim_name(name, spec), "claimUid": view.claim["metadata"]["uid"]}
    verified = {"verifiedBy": report["verifiedBy"].capitalize()} if report.get("verifiedBy") else {}
    if at := (view.job or {}).get("status", {}).get("completionTime"):
        verified["verifiedAt"] = at
    if view.suspected_at:
        verified["repairedFiles"] = int(report.get("fetchedFiles", 0))
    copy = {"commit": spec.revision, "revision": spec.revision} | claim | fields | verified
    return copy | {"path": model_path(spec)}


def _still_there(copy: Object | None, claim: Object | None) -> bool:
    """Whether a copy is on the claim that is there now, and not on one that was deleted."""
    return bool(copy and claim and copy.get("claimUid") == claim["metadata"]["uid"])


def _superseded(spec: Qwen3ModelSpec, previous: Object, served: Object | None, view: ModelView) -> list[dict[str, str]]:
    """Folders of revisions before, whole or in part, that nobody removed yet. A claim of others is left alone, and an
    adapter's is its model's. Of more than the status has room for, the last are left on the volume."""
    if spec.storage.existing_claim or spec.adapter_of:
        return []
    in_use = {model_path(spec), (served or {}).get("path")}
    known = [previous.get("model") or {}, *(previous.get("superseded") or []), previous.get("download") or {}]
    found = {
        copy["path"]: {"revision": str(copy.get("revision") or ""), "path": copy["path"]}
        for copy in known
        if copy.get("path") and copy["path"] not in in_use and copy["path"] not in view.removed
    }
    return [found[path] for path in sorted(list(found)[:MOST_SUPERSEDED])]


_WITNESS = {
    "Hub": "verified against the hub",
    "Marker": "verified against the marker of its download: no hub answered for it",
    "Structure": "only their structure is verified: no hub answered for them, and there is no marker of a download",
}


def _in_place(spec: Qwen3ModelSpec, copy: Object) -> str:
    words = f"{copy.get('files', '?')} files, {readable(copy.get('bytes', 0))}"
    witness = copy.get("verifiedBy", "")
    if witness != "Structure":
        words += f" at commit {copy.get('commit', '?')}"
    return f"{words}, {_WITNESS[witness]}" if spec.storage.existing_claim and witness in _WITNESS else words


def _set_accepted(conditions: Conditions, spec: Qwen3ModelSpec, copy: Object, view: ModelView) -> None:
    """Set Accepted. A copy that is in place needs nothing any more: what is refused then is only a warning."""
    warnings = of_model(spec, view.claim)
    if copy:
        set_accepted(conditions, (), [*warnings, *view.problems])
    else:
        set_accepted(conditions, view.problems, warnings)


def _set_volume(conditions: Conditions, view: ModelView) -> None:
    claim = view.claim
    if claim is None:
        return
    phase = claim.get("status", {}).get("phase")
    name = claim["metadata"]["name"]
    kind = Type.VOLUME_BOUND
    if phase == "Bound":
        conditions.set(kind, "True", Reason.BOUND, f"claim {name}")
    elif phase == "Lost":
        words = f"the volume of claim {name} is gone: delete the claim"
        conditions.set(kind, "False", Reason.VOLUME_LOST, words, stalled=True)
    elif (cause := _claim_trouble(view)) is not None:
        words = f"claim {name} is not bound: {cause.message}. To do: {cause.remedy}"
        conditions.set(kind, "False", cause.reason, words, stalled=cause.reason.needs_person)
    else:
        # WaitForFirstConsumer: it binds when the Job's pod is scheduled.
        conditions.set(kind, "Unknown", Reason.PENDING, f"claim {name} waits to be bound")


def _claim_trouble(view: ModelView) -> Cause | None:
    """Why the claim is not bound. What a person had to mend, like a class that is missing, is mended where the claim
    waits for a pod since; its Event is there for an hour."""
    if not view.claim_events:
        return None
    cause = diagnose_claim(view.claim_events[-1])
    return None if view.claim_waits and cause.reason.needs_person else cause


def _set_download(
    conditions: Conditions, spec: Qwen3ModelSpec, download: Object, copy: Object, view: ModelView
) -> None:
    kind = Type.DOWNLOADED
    if copy:
        structure = copy.get("verifiedBy") == "Structure"
        reason = Reason.STRUCTURE_VERIFIED if structure else Reason.VERIFIED
        conditions.set(kind, "True", reason, _in_place(spec, copy))
    elif view.problems:
        problem = view.problems[0]  # Accepted says whether it needs a person
        conditions.set(kind, "False", problem.reason, in_words(problem))
    elif spec.suspend:
        conditions.set(kind, "False", Reason.SUSPENDED, "spec.suspend is true")
    elif job_failed(view.job, view.pods):
        _set_failure(conditions, spec, download, view)
    elif trouble := _pod_trouble(view):
        conditions.set_trouble(kind, trouble)
    elif view.pods_refused:
        conditions.set_trouble(kind, trouble_of_refused(view.pods_refused, started_at(view.job)))
    elif download.get("failure"):
        _set_failure_before(conditions, download)
    elif view.job is None:
        conditions.set(kind, "False", Reason.WAITING, "the Job is not made yet")
    elif attempt := final_report(view.pods, "Failed"):
        conditions.set(kind, "False", attempt["reason"], f"{attempt['message']} (the Job tries again)")
    else:
        conditions.set(kind, "False", *_under_way(download, view))


def _under_way(download: Object, view: ModelView) -> tuple[Reason, str]:
    """What the Job does, while nothing is in its way."""
    if view.step is Step.LIST:
        return Reason.LISTING, Reason.LISTING.meaning
    if view.suspected_at:
        words = f"a server that started at {view.suspected_at} found files missing or damaged: all are verified"
        return Reason.VERIFYING, words
    if view.step is Step.CHECK:
        return Reason.VERIFYING, "the files on the claim are verified"
    return Reason.DOWNLOADING, download.get("progress") or "the download Job runs"


def _set_failure(conditions: Conditions, spec: Qwen3ModelSpec, download: Object, view: ModelView) -> None:
    """Why the Job failed. What is mended by the next try is no standstill, nor is a claim that grows."""
    reason, message = _failure(download)
    if view.grows_to:
        words = f"{message}. The claim grows to {view.grows_to}, then the download goes on"
        conditions.set(Type.DOWNLOADED, "False", reason, words)
        return
    if needed_volume(view.pods, view.claim) and view.claim is not None:
        message += f". {_make_room(spec, enough_volume(download), view.claim, view.fixed_class)}"
    again = f" (tried again at {download['retryAt']})" if download.get("retryAt") else ""
    conditions.set(Type.DOWNLOADED, "False", reason, message + again, stalled=reason.needs_person)


def _set_failure_before(conditions: Conditions, download: Object) -> None:
    """The failure of the last try stands until this one gets further: conditions and Events do not go to and fro."""
    reason, message = _failure(download)
    since = f" since {download['startedAt']}" if download.get("startedAt") else ""
    words = f"{message} (tried again{since}, after {download.get('failures', 1)} failures)"
    conditions.set(Type.DOWNLOADED, "False", reason, words, stalled=reason.needs_person)


def _failure(download: Object) -> tuple[Reason, str]:
    failure = download.get("failure") or {}
    reason = Reason.known(failure.get("reason"), Reason.DOWNLOAD_FAILED)
    return reason, failure.get("message") or Reason.DOWNLOAD_FAILED.meaning


def _make_room(spec: Qwen3ModelSpec, enough: str, claim: Object, fixed_class: str) -> str:
    name = claim["metadata"]["name"]
    if fixed_class:
        size = f"set spec.storage.size to {enough} and delete" if spec.storage.size is not None else "delete"
        then = f"it is made anew with {enough}, and the download begins anew"
        return f"StorageClass {fixed_class} does not let claim {name} grow: {size} the claim; {then}"
    if spec.adapter_of is not None:
        return f"spec.storage.size {enough} of Qwen3Model {spec.adapter_of.name}, on whose claim it lies, is enough"
    has, asked = (claim.get("status", {}).get("capacity") or {}).get("storage", "nothing yet"), requested(claim)
    if quantity(asked) >= quantity(enough):
        return f"Claim {name} asks for {asked} and has {has}: it has to grow still, or else free what is on it"
    return f"spec.storage.size: {enough} is enough"


def _pod_trouble(view: ModelView) -> Trouble | None:
    """Why the Job's pod cannot run. How a pod ended is in its report, not here."""
    waiting = [pod for pod in view.pods if not pod.failed]
    return pod_trouble(waiting, remedy={"Image": "check the operator's setting for the downloader's image"})

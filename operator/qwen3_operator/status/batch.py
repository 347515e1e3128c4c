"""Status of a Qwen3Batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.conditions import BATCH_TYPES, Type
from qwen3_operator.desired.batch import QUEUE_LABEL
from qwen3_operator.engine.diagnosis import diagnose_log
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan.batch import BatchPlan
from qwen3_operator.status.accepted import set_accepted
from qwen3_operator.status.batch_progress import final, last_words, lines_of_input, progress, shards
from qwen3_operator.status.conditions import Conditions, Idle
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.model_fault import fault_at
from qwen3_operator.status.model_ready import set_model_ready, verified_copy
from qwen3_operator.status.pods import PodView, pod_trouble

Object = Mapping[str, Any]
# What the runner only knows in general; the cause stands in vLLM's log.
_SEE_LOG = {"EngineStartFailed", "EngineArgumentsRefused", "EngineDied"}


@dataclass(frozen=True)
class BatchView:
    """What was seen of a Qwen3Batch and its children at one moment."""

    now: datetime
    plan: BatchPlan | None = None
    """None: the spec could not be resolved."""
    problems: Sequence[Problem] = ()
    model: Object | None = None
    job: Object | None = None
    pods: Sequence[PodView] = ()
    """Pods of the Job, newest first."""
    log_tails: Mapping[str, str] = field(default_factory=dict)
    """Pod name -> the end of its log, of those that run."""
    gpus_by_node: Mapping[str, int] | None = None


def is_over(status: Object, job_name: str) -> bool:
    """Whether `status` says that the Job of this name has ended: it is not made again when its TTL removes it."""
    job = status.get("job") or {}
    return job.get("name") == job_name and job.get("result") is not None


def seen_again(status: Object, generation: int) -> dict[str, Any]:
    """The status of a batch that is over, for a spec of which only what may change has changed."""
    conditions = [dict(c) | {"observedGeneration": generation} for c in status["conditions"]]
    return dict(status) | {"observedGeneration": generation, "conditions": conditions}


def merged(view: BatchView) -> bool:
    """Whether a shard has put the output into place."""
    return any((last_words(pod.pod) or {}).get("merged") for pod in view.pods)


def batch_status(
    spec: Qwen3BatchSpec | None, labels: Mapping[str, str], generation: int, previous: Object, view: BatchView
) -> dict[str, Any]:
    """The status of a Qwen3Batch with `labels`, from its `previous` status and what was seen."""
    conditions = Conditions(BATCH_TYPES)
    fault = fault_at(previous, view.pods, verified_copy(view.model))
    fields: dict[str, Any] = {}
    idle = None
    engine = view.plan.engine if view.plan else None
    problems = [*view.problems, *(engine.problems if engine else ())]
    set_accepted(conditions, problems, engine.warnings if engine else ())
    if spec is not None and view.plan is not None:
        set_model_ready(conditions, view.model, fault)
        fit = view.plan.engine.fit
        conditions.set(Type.FITS, fit.status, fit.reason, fit.message, stalled=fit.blocks)
        found = shards(previous.get("shards") or [], view.pods, view.log_tails)
        fields = progress(previous, found, lines_of_input(view.pods, view.log_tails), view.now)
        if view.job is not None:
            idle = _set_job(conditions, spec, labels, fields, view)
            if job_result(view.job) == "Complete":
                fields = final(fields, view.job)
        fields |= {"engine": view.plan.engine_status(), "plan": [v.as_status() for v in view.plan.engine.values]}
    if conditions.trouble(upto=Type.FITS):
        idle = None
    conditions.summarize("Completed", _words_of(fields), idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.as_status(dict(previous), generation=generation, now=view.now),
        **fields,
    }
    _add_model(result, previous, view)
    if fault:
        result["modelFaultAt"] = fault
    if view.job is not None:
        result["job"] = _job(view)
        if spec is not None and conditions.holds(Type.COMPLETED):
            result["output"] = f"{spec.output.claim.name}:{spec.output.claim.path}"
    elif previous.get("job"):
        result["job"] = previous["job"]
    return result


def _set_job(
    conditions: Conditions, spec: Qwen3BatchSpec, labels: Mapping[str, str], fields: Object, view: BatchView
) -> Idle | None:
    """Scheduled and Completed, from the Job and its pods. Returns why nothing runs, where that is as it should be."""
    job, ended = view.job or {}, job_result(view.job)
    if ended == "Complete":
        conditions.set(Type.SCHEDULED, "True", "Scheduled", "every shard had a node")
        if merged(view):
            conditions.set(Type.COMPLETED, "True", "Completed", _words_of(fields))
        else:
            words = f"no shard has put the parts together: delete the Job {job['metadata']['name']}, and the next does"
            conditions.set(Type.COMPLETED, "False", "NotMerged", words, stalled=True)
        return None
    if ended == "Failed":
        reason, message = _failure(view)
        conditions.set(Type.COMPLETED, "False", reason, f"{message}. {_words_of(fields)}", stalled=True)
        return None
    if job.get("spec", {}).get("suspend"):
        queue = labels.get(QUEUE_LABEL)
        words = "spec.suspend is true" if spec.suspend else f"the Job waits in queue {queue}"
        reason = "Suspended" if spec.suspend else "Queued"
        conditions.set(Type.SCHEDULED, "Unknown", reason, words)
        conditions.set(Type.COMPLETED, "False", reason, f"{words}. {_words_of(fields)}")
        return Idle(reason=reason, message=words) if spec.suspend else None
    _set_pods(conditions, fields, view)
    return None


def _set_pods(conditions: Conditions, fields: Object, view: BatchView) -> None:
    """Scheduled and Completed while the Job goes on."""
    living = [pod for pod in view.pods if last_words(pod.pod) is None]
    if trouble := pod_trouble([pod for pod in living if pod.unplaced], view.gpus_by_node):
        conditions.set(Type.SCHEDULED, "False", trouble.reason, trouble.message, stalled=trouble.needs_a_person)
    elif any(pod.placed for pod in living):
        conditions.set(Type.SCHEDULED, "True", "Scheduled", f"{sum(pod.placed for pod in living)} shards have a node")
    else:
        conditions.set(Type.SCHEDULED, "Unknown", "Scheduling", "no shard has a node yet")
    waiting = pod_trouble([pod for pod in living if not pod.unplaced and not pod.failed])
    failed = next((pod for pod in view.pods if (last_words(pod.pod) or {}).get("result", "Failed") == "Failed"), None)
    running = any(view.log_tails.get(pod.name) for pod in living)
    if waiting:
        conditions.set(Type.COMPLETED, "False", waiting.reason, waiting.message, stalled=waiting.needs_a_person)
    elif failed is not None and last_words(failed.pod) is not None and not running:
        reason, message = _why(failed)
        conditions.set(Type.COMPLETED, "False", reason, f"{message} (the Job tries again). {_words_of(fields)}")
    elif fields.get("requests"):
        conditions.set(Type.COMPLETED, "False", "Running", _words_of(fields))
    else:
        conditions.set(Type.COMPLETED, "False", "Starting", "the engine loads the model")


def _failure(view: BatchView) -> tuple[str, str]:
    """Why the Job failed: its pods know better than the Job itself, unless its time was up."""
    condition = next(c for c in (view.job or {})["status"]["conditions"] if c["type"] == "Failed")
    if condition.get("reason") == "DeadlineExceeded":
        return "DeadlineExceeded", "spec.activeDeadlineSeconds are over"
    for pod in view.pods:
        said = last_words(pod.pod)
        if said is not None and said.get("result") != "Complete":
            return _why(pod)
    return condition.get("reason") or "JobFailed", condition.get("message") or "the Job failed"


def _why(view: PodView) -> tuple[str, str]:
    """Why a pod failed: in its own words, or by the cause in vLLM's log."""
    said = last_words(view.pod) or {}
    if not said.get("reason"):  # killed before it could speak
        trouble = pod_trouble([view])
        words = f"pod {view.name} ended without a word: see its log"
        return (trouble.reason, trouble.message) if trouble else ("PodFailed", words)
    cause = diagnose_log(view.log) if view.log and said["reason"] in _SEE_LOG else None
    if cause is not None:
        return cause.reason, f"pod {view.name}: {cause}"
    return str(said["reason"]), f"pod {view.name}: {said.get('message', '')}"


def _words_of(fields: Object) -> str:
    requests = fields.get("requests")
    if not requests:
        return "no line is finished yet"
    total = f" of {requests['total']:,}" if requests.get("total") else ""
    failed = f", {requests['failed']:,} of them with an error line" if requests["failed"] else ""
    return f"{requests['done'] + requests['failed']:,}{total} lines are finished{failed}"


def _job(view: BatchView) -> dict[str, Any]:
    job = view.job or {}
    status = job.get("status", {})
    result: dict[str, Any] = {"name": job["metadata"]["name"]}
    if status.get("startTime"):
        result["startedAt"] = status["startTime"]
    ended = job_result(job)
    if ended == "Failed" or (ended == "Complete" and merged(view)):
        moment = next(c.get("lastTransitionTime") for c in status["conditions"] if c["type"] == ended)
        result |= {"result": ended} | ({"finishedAt": moment} if moment else {})
    return result


def _add_model(result: dict[str, Any], previous: Object, view: BatchView) -> None:
    if view.model is None:
        if previous.get("model"):
            result["model"] = previous["model"]
        return
    copy = verified_copy(view.model)
    result["model"] = {"name": view.model["metadata"]["name"]} | dict(copy or {})
    if not copy and (download := (view.model.get("status") or {}).get("download")):
        result["download"] = download

"""What a batch's Job has come to: what was noted of it, and what its pods say now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.batch_outcome import BatchOutcome
from qwen3_operator.engine.diagnosis import diagnose_log
from qwen3_operator.status.batch_progress import last_words, said_of_shard
from qwen3_operator.status.jobs import job_result
from qwen3_operator.status.pods import PodView, pod_trouble

Object = Mapping[str, Any]
# What the runner only knows in general; the cause stands in vLLM's log.
_SEE_LOG = {Reason.ENGINE_START_FAILED, Reason.ENGINE_ARGUMENTS_REFUSED, Reason.ENGINE_DIED}


def outcome_now(noted: BatchOutcome, job: Object, pods: Sequence[PodView], tails: Mapping[str, str]) -> BatchOutcome:
    """What was `noted` of the Job, and what is seen beyond it. `tails`: pod name -> the end of its log."""
    if not noted.answered:
        said = (said_of_shard(view, tails) for view in pods)
        answered = any(shard.get("done") or shard.get("failed") for shard in said)
        noted = replace(noted, answered=answered or bool(job.get("status", {}).get("succeeded")))
    if not noted.merged:
        noted = replace(noted, merged=any((last_words(view.pod) or {}).get("merged") for view in pods))
    if not noted.reason and job_result(job) == "Failed" and (found := _reason_of(job, pods)):
        noted = replace(noted, reason=found[0].value, message=found[1])
    return noted


def failure(noted: BatchOutcome, job: Object) -> tuple[Reason, str]:
    """Why the Job failed: its pods knew better than the Job itself."""
    if noted.reason:
        return Reason.known(noted.reason, Reason.JOB_FAILED), noted.message
    condition = _failed(job)
    return Reason.known(condition.get("reason"), Reason.JOB_FAILED), condition.get("message") or "the Job failed"


def why(view: PodView) -> tuple[Reason, str]:
    """Why a pod failed: in its own words, or by the cause in vLLM's log."""
    said = last_words(view.pod) or {}
    if not said.get("reason"):  # killed before it could speak
        trouble = pod_trouble([view])
        words = f"pod {view.name} ended without a word: see its log"
        return (trouble.reason, trouble.message) if trouble else (Reason.POD_FAILED, words)
    cause = diagnose_log(view.log) if view.log and said["reason"] in _SEE_LOG else None
    if cause is not None:
        return cause.reason, f"pod {view.name}: {cause}"
    return Reason.known(said["reason"], Reason.POD_FAILED), f"pod {view.name}: {said.get('message', '')}"


def _reason_of(job: Object, pods: Sequence[PodView]) -> tuple[Reason, str] | None:
    """Why a Job failed by those who know: the Job where its time was up, or else its newest pod that failed."""
    if _failed(job).get("reason") == "DeadlineExceeded":
        return Reason.DEADLINE_EXCEEDED, "spec.activeDeadlineSeconds are over"
    for pod in pods:
        said = last_words(pod.pod)
        if said is not None and said.get("result") != "Complete":
            return why(pod)
    return None


def _failed(job: Object) -> Object:
    """Its condition Failed."""
    found: Object = next(c for c in job["status"]["conditions"] if c["type"] == "Failed")
    return found

"""Status of a Qwen3Batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.conditions import BATCH_TYPES, Type
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.batch import QUEUE_LABEL
from qwen3_operator.desired.batch_outcome import BatchOutcome
from qwen3_operator.desired.batch_record import BatchRecord
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan.batch import BatchPlan
from qwen3_operator.status.accepted import set_accepted
from qwen3_operator.status.batch_outcome import failure, outcome_now, why
from qwen3_operator.status.batch_progress import final, last_words, lines_of_input, progress, shards
from qwen3_operator.status.conditions import Before, Conditions, Idle
from qwen3_operator.status.jobs import job_result, lacks_pods, started_at
from qwen3_operator.status.model_fault import fault_at
from qwen3_operator.status.model_ready import set_model_ready, verified_copy
from qwen3_operator.status.pods import PodView, Trouble, pod_trouble, trouble_of_refused

Object = Mapping[str, Any]


@dataclass(kw_only=True)
class BatchView:
    """What was observed of a Qwen3Batch and its children at one moment."""

    now: datetime
    output: str = ""
    """Where the answers come to be: CLAIM:PATH."""
    plan: BatchPlan | None = None
    """What the spec comes to now, where no Job serves it yet. None: a Job does, or it could not be resolved."""
    made_from: BatchRecord | None = None
    """What the Job was made from."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    model: Object | None = None
    """The Qwen3Model of the Job, or else the one that is wanted."""
    job: dict[str, Any] | None = None
    pods: Sequence[PodView] = ()
    """Pods of the Job, newest first."""
    pods_refused: str = ""
    """The API server's words, where it takes no pod of the Job."""
    log_tails: Mapping[str, str] = field(default_factory=dict)
    """Pod name -> the end of its log, of those that run."""
    gpus_by_node: Mapping[str, int] | None = None
    delivery: dict[str, Any] | None = None
    """The Job that delivers what is finished of a Job that failed."""
    delivery_pods: Sequence[PodView] = ()
    """Pods of that Job while it goes on."""
    delivery_refused: str = ""
    """The API server's words, where it takes none."""
    delivery_waits: bool = False
    """Whether that Job cannot be made yet."""
    servers_missing: Problem | None = None
    """Why the servers that run, and are to answer, take no lines now."""
    noted: BatchOutcome = field(default_factory=BatchOutcome)
    """What is noted on the Job of what it has come to."""

    @property
    def outcome(self) -> BatchOutcome:
        """What the Job has come to, as far as it is known."""
        return self.noted if self.job is None else outcome_now(self.noted, self.job, self.pods, self.log_tails)

    @property
    def result(self) -> str | None:
        """How the batch ended; None while it goes on, or may."""
        ended = job_result(self.job)
        last = self.outcome.merged if ended == "Complete" else not self.noted.capacity
        return ended if last else None

    @property
    def is_over(self) -> bool:
        """Whether nothing comes after the end of the Job: what it finished is delivered, and it may not go on."""
        delivered = self.delivery is None or job_result(self.delivery) is not None
        return delivered and not self.delivery_waits and not self.noted.capacity


def is_over(status: Object) -> bool:
    """Whether the batch has ended by its `status`, which is all that is left of it when the TTL has removed the Job.
    It never runs again."""
    return has_ended(status) and status["job"].get("delivery") not in ("Waiting", "Running")


def has_ended(status: Object) -> bool:
    """Whether the Job has ended by the batch's `status`; what it finished may yet have to be delivered."""
    return (status.get("job") or {}).get("result") is not None


def status_at_rest(status: Object, generation: int) -> dict[str, Any]:
    """The status of a batch that is over; where it was edited since, a condition says that this comes too late."""
    conditions = [dict(c) | {"observedGeneration": generation} for c in status["conditions"]]
    if status.get("observedGeneration") != generation:
        for condition in conditions:
            if condition["type"] == Type.ACCEPTED and condition["status"] == "True":
                words = "the batch has ended, and of the spec only ttlSecondsAfterFinished still counts"
                condition |= {"reason": "AcceptedWithWarnings", "message": f"{words}: make another Qwen3Batch"}
    result = dict(status) | {"observedGeneration": generation, "conditions": conditions}
    if not is_over(status):  # the Job was deleted, and the one that delivered with it
        result["job"] = dict(status["job"]) | {"delivery": "Failed"}
    return result


def batch_status(
    spec: Qwen3BatchSpec | None, labels: Mapping[str, str], generation: int, previous: Object, view: BatchView
) -> dict[str, Any]:
    """The status of a Qwen3Batch with `labels`, from its `previous` status and what was observed.

    `spec`: None where it cannot be read.
    """
    conditions = Conditions(BATCH_TYPES, Before(previous, generation, view.now))
    copy = _copy(view)
    fault = fault_at(previous, view.pods, copy)
    _set_accepted(conditions, view)
    _set_model(conditions, view, copy, fault)
    _set_fits(conditions, view)
    found = shards(previous.get("shards") or [], view.pods, view.log_tails)
    fields = progress(previous, found, lines_of_input(view.pods, view.log_tails), view.now)
    idle = None
    if view.job is not None:
        idle = _set_job(conditions, spec, labels, fields, view)
        if job_result(view.job) == "Complete":
            fields = final(fields, view.job)
    elif view.servers_missing is not None:
        _set_servers_missing(conditions, view.servers_missing, fields)
    if conditions.trouble(upto=Type.FITS):
        idle = None
    conditions.summarize(Reason.COMPLETED, _words_of(fields), idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.as_status(previous, generation=generation, now=view.now),
        **fields,
        **_resolved(previous, view, copy),
    }
    if fault:
        result["modelFaultAt"] = fault
    if view.noted.capacity:
        result["outputCapacity"] = view.noted.capacity
    if view.job is not None:
        result["job"] = _job(view)
        if conditions.holds(Type.COMPLETED) or job_result(view.delivery) == "Complete":
            result["output"] = view.output
    elif previous.get("job"):
        result["job"] = previous["job"]
    return result


def _goes_on(view: BatchView) -> str:
    """What runs while the spec is refused, in words; empty where nothing does."""
    if view.job is None or job_result(view.job):
        return ""
    return f"The Job {view.job['metadata']['name']} goes on meanwhile"


def _set_accepted(conditions: Conditions, view: BatchView) -> None:
    engine = view.plan.engine if view.plan else None
    problems = [*view.problems, *(engine.problems if engine else ())]
    warnings = [*view.warnings, *(engine.warnings if engine else ())]
    if engine is None and view.made_from is not None:
        warnings += [
            Problem(Reason.ACCEPTED_WITH_WARNINGS, words, severity="warning") for words in view.made_from.warnings
        ]
    set_accepted(conditions, problems, warnings, _goes_on(view))


def _set_fits(conditions: Conditions, view: BatchView) -> None:
    if view.plan is not None:
        fit = view.plan.engine.fit
        words = f"{fit.message}. {_goes_on(view)}" if fit.blocks and view.job is not None else fit.message
        conditions.set(Type.FITS, fit.status, fit.reason, words, stalled=fit.blocks)
    elif view.made_from is not None and (fits := view.made_from.fits):
        # The Job is there: what was predicted then keeps nothing from running any more.
        conditions.set(Type.FITS, fits["status"], fits["reason"], fits.get("message", ""))


def _copy(view: BatchView) -> Object | None:
    """The verified copy, with the name of its model: of a Job the one that it was made with, as it is now where it is
    still there."""
    live, name = verified_copy(view.model), (view.model or {}).get("metadata", {}).get("name")
    if view.made_from is None:
        return {"name": name} | dict(live) if live else None
    made = view.made_from.model
    same = live is not None and name == made.get("name") and _is_same(live, made)
    return {"name": name} | dict(live or {}) if same else made or None


def _is_same(live: Object, made: Object) -> bool:
    """Whether two reports speak of the same files."""
    return all(live.get(key) == made.get(key) for key in ("claimUid", "path", "commit"))


def _set_model(conditions: Conditions, view: BatchView, copy: Object | None, fault: str | None) -> None:
    """ModelReady: of a Job whose copy has changed since, or that has ended, what it was made with."""
    if view.made_from is None:
        if view.plan is not None:
            set_model_ready(conditions, view.model, fault)
        return
    live, made = verified_copy(view.model), view.made_from.model
    if live is not None and _is_same(live, made) and not job_result(view.job):
        set_model_ready(conditions, view.model, fault)
        return
    commit = f"commit {made['commit']} of " if made.get("commit") else ""
    words = f"the Job was made with {commit}Qwen3Model {made.get('name', 'of an earlier release')}"
    conditions.set(Type.MODEL_READY, "True", Reason.PINNED, words)


def _resolved(previous: Object, view: BatchView, copy: Object | None) -> dict[str, Any]:
    """Model, engine and plan: those of the Job where there is one."""
    result: dict[str, Any] = {}
    if view.made_from is not None:
        # A record that was too long for the Job left these out; the status has had them since the Job was made.
        result["engine"] = dict(view.made_from.engine) or previous.get("engine")
        result["plan"] = list(view.made_from.plan) or previous.get("plan")
    elif view.plan is not None:
        result["engine"] = view.plan.engine_status()
        result["plan"] = [value.as_status() for value in view.plan.engine.values]
    if copy is not None:
        result["model"] = dict(copy)
    elif view.model is not None:
        result["model"] = {"name": view.model["metadata"]["name"]}
        result["download"] = (view.model.get("status") or {}).get("download")
    else:
        result["model"] = previous.get("model")
    return {key: value for key, value in result.items() if value}


def _set_job(
    conditions: Conditions, spec: Qwen3BatchSpec | None, labels: Mapping[str, str], fields: Object, view: BatchView
) -> Idle | None:
    """Scheduled and Completed, from the Job and its pods. Returns why nothing runs, where that is as it should be."""
    job, ended = view.job or {}, job_result(view.job)
    if ended == "Complete":
        conditions.set(Type.SCHEDULED, "True", Reason.SCHEDULED, "every shard had a node")
        if view.outcome.merged:
            conditions.set(Type.COMPLETED, "True", Reason.COMPLETED, _words_of(fields))
        else:
            words = f"no shard has put the parts together: delete the Job {job['metadata']['name']}, and the next does"
            conditions.set(Type.COMPLETED, "False", Reason.NOT_MERGED, words, stalled=True)
        return None
    if ended == "Failed":
        reason, message = failure(view.outcome, job)
        trouble, unplaced = _trouble_of_delivery(view), any(pod.unplaced for pod in view.delivery_pods)
        if trouble and unplaced:
            conditions.set_trouble(Type.SCHEDULED, trouble)
        words = f"{message}. {_words_of(fields)}. {_what_next(view, trouble)}"
        waits = bool(view.noted.capacity) or (trouble is not None and trouble.needs_a_person and not unplaced)
        conditions.set(Type.COMPLETED, "False", reason, words, stalled=view.is_over or waits)
        return None
    if job.get("spec", {}).get("suspend"):
        queue, ours = labels.get(QUEUE_LABEL), spec is None or spec.suspend
        if view.servers_missing is not None and not ours and not queue:
            _set_servers_missing(conditions, view.servers_missing, fields)
            return None
        words = "spec.suspend is true" if ours else f"the Job waits in queue {queue}"
        reason = Reason.SUSPENDED if ours else Reason.QUEUED
        conditions.set(Type.SCHEDULED, "Unknown", reason, words)
        conditions.set(Type.COMPLETED, "False", reason, f"{words}. {_words_of(fields)}")
        return Idle(reason=reason, message=words) if ours else None
    _set_pods(conditions, fields, view)
    return None


def _set_pods(conditions: Conditions, fields: Object, view: BatchView) -> None:
    """Scheduled and Completed while the Job goes on."""
    living = [pod for pod in view.pods if last_words(pod.pod) is None]
    if trouble := pod_trouble([pod for pod in living if pod.unplaced], view.gpus_by_node):
        conditions.set_trouble(Type.SCHEDULED, trouble)
    elif any(pod.placed for pod in living):
        conditions.set(
            Type.SCHEDULED, "True", Reason.SCHEDULED, f"{sum(pod.placed for pod in living)} shards have a node"
        )
    else:
        conditions.set(Type.SCHEDULED, "Unknown", Reason.SCHEDULING, "no shard has a node yet")
    waiting = pod_trouble([pod for pod in living if not pod.unplaced and not pod.failed])
    failed = next((pod for pod in view.pods if (last_words(pod.pod) or {}).get("result", "Failed") == "Failed"), None)
    running = any(view.log_tails.get(pod.name) for pod in living)
    if view.pods_refused:
        conditions.set_trouble(Type.COMPLETED, trouble_of_refused(view.pods_refused, started_at(view.job)))
    elif waiting:
        conditions.set_trouble(Type.COMPLETED, waiting)
    elif view.servers_missing is not None:
        _set_servers_missing(conditions, view.servers_missing, fields)
    elif failed is not None and last_words(failed.pod) is not None and not running:
        reason, message = why(failed)
        conditions.set(Type.COMPLETED, "False", reason, f"{message} (the Job tries again). {_words_of(fields)}")
    elif fields.get("requests"):
        conditions.set(Type.COMPLETED, "False", Reason.RUNNING, f"{_words_of(fields)}{_pace(fields)}")
    else:
        conditions.set(Type.COMPLETED, "False", Reason.STARTING, "the engine loads the model")


def _set_servers_missing(conditions: Conditions, missing: Problem, fields: Object) -> None:
    """Completed where no server takes lines."""
    words = f"{missing.message}. {_words_of(fields)}"
    conditions.set(Type.COMPLETED, "False", missing.reason, words, stalled=missing.needs_person)


def _trouble_of_delivery(view: BatchView) -> Trouble | None:
    """Why the Job that delivers does not go on."""
    if view.delivery_refused:
        return trouble_of_refused(view.delivery_refused, started_at(view.delivery))
    return pod_trouble([pod for pod in view.delivery_pods if last_words(pod.pod) is None])


def _what_next(view: BatchView, trouble: Trouble | None) -> str:
    """What becomes of a batch whose Job has failed, in words."""
    again = "To run it again, delete the Qwen3Batch and apply it again: it goes on with what is finished"
    if view.noted.capacity:
        return f"It goes on once the claim of the output is larger than {view.noted.capacity}"
    if view.delivery_waits:
        return "What is finished is delivered as soon as a Job for that can be made"
    if view.delivery is None:
        return again
    name, ended = view.delivery["metadata"]["name"], job_result(view.delivery)
    if ended == "Complete":
        return f"What is finished is delivered, with an error line for each line that is not. {again}"
    if ended == "Failed":
        return f"What is finished could not be delivered: see the log of Job {name}. {again}"
    if trouble is not None:
        return f"What is finished waits for Job {name}: {trouble.message}"
    if lacks_pods(view.delivery):
        return f"What is finished waits for a pod of Job {name}: its Events say what it lacks"
    return f"What is finished is being delivered by Job {name}"


def _words_of(fields: Object) -> str:
    requests = fields.get("requests")
    if not requests:
        return "no line is finished yet"
    total = f" of {requests['total']:,}" if requests.get("total") else ""
    failed = f", {requests['failed']:,} of them with an error line" if requests["failed"] else ""
    return f"{requests['done'] + requests['failed']:,}{total} lines are finished{failed}"


def _pace(fields: Object) -> str:
    """How fast it goes, and how long yet, as far as it is known."""
    words, seconds = "", fields.get("etaSeconds")
    if rate := fields.get("tokensPerSecond"):
        words = f", {rate:,} tokens/s"
    if seconds is not None:
        minutes = round(seconds / 60)
        words += f", about {f'{minutes:,} min' if minutes > 1 else f'{seconds} s'} to go"
    return words


def _job(view: BatchView) -> dict[str, Any]:
    job = view.job or {}
    status = job.get("status", {})
    result: dict[str, Any] = {"name": job["metadata"]["name"]}
    if status.get("startTime"):
        result["startedAt"] = status["startTime"]
    if view.delivery_waits:
        result["delivery"] = "Waiting"
    elif view.delivery is not None:
        result["delivery"] = job_result(view.delivery) or "Running"
    if ended := view.result:
        moment = next(c.get("lastTransitionTime") for c in status["conditions"] if c["type"] == ended)
        result |= {"result": ended} | ({"finishedAt": moment} if moment else {})
    return result

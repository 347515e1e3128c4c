"""Status of a Qwen3Batch in every situation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_batch_plan import batch_spec, plan

from qwen3_operator.api.batch import Qwen3BatchStatus
from qwen3_operator.api.conditions import BATCH_TYPES
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.batch_record import record_of_plan
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.batch import BatchView, batch_status, is_over
from qwen3_operator.status.batch_progress import lines_of_input, progress, progress_line, shards
from qwen3_operator.status.pods import PodView

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
THEN, LATER = "2026-01-01T11:50:00Z", "2026-01-01T11:58:20Z"
SPEC = batch_spec(completions=2, parallelism=2)
MODEL: dict[str, Any] = {
    "metadata": {"name": "weights"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "message": "in place"}],
        "model": {"commit": "c", "claim": "claim", "path": "folder"},
    },
}
PLACED = [{"type": "PodScheduled", "status": "True"}]


def job(ended: str | None = None, reason: str = "", *, suspend: bool = False) -> dict[str, Any]:
    """The Job; `ended`: Complete or Failed."""
    status: dict[str, Any] = {"startTime": THEN}
    if ended:
        status["conditions"] = [{"type": ended, "status": "True", "reason": reason, "lastTransitionTime": LATER}]
        status["completionTime"] = LATER
    return {"metadata": {"name": "nightly-1"}, "spec": {"suspend": suspend}, "status": status}


def pod(index: int, *, ended: dict[str, Any] | None = None, code: int = 0, name: str = "", text: str = "") -> PodView:
    """A pod of a shard: it runs, or has ended with a report."""
    state: dict[str, Any] = {"running": {}}
    if ended is not None:
        state = {"terminated": {"exitCode": code, "message": text or json.dumps(ended), "reason": "Error"}}
    containers = [{"name": "vllm", "state": state}]
    return PodView(
        {
            "metadata": {
                "name": name or f"pod-{index}",
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            },
            "status": {
                "phase": "Running" if ended is None else "Succeeded" if code == 0 else "Failed",
                "conditions": PLACED,
                "containerStatuses": containers,
            },
        }
    )


def said(shard: int, done: int, **more: Any) -> dict[str, Any]:
    """What a shard of 50 lines says."""
    counts = {"shard": shard, "total": 50, "lines": 100, "done": done, "failed": 0}
    return counts | {"promptTokens": 10 * done, "completionTokens": 100 * done} | more


def line(shard: int, done: int, **more: Any) -> str:
    """A progress line in a log, after vLLM's own words."""
    return "INFO vLLM says\n" + json.dumps({"event": "progress"} | said(shard, done, **more)) + "\nWARNING more\n"


def status(previous: dict[str, Any] | None = None, labels: dict[str, str] | None = None, **view: Any) -> dict[str, Any]:
    """The status of what is observed; a Job was made from the plan."""
    seen: dict[str, Any] = {"now": NOW, "output": "answers:a/out.jsonl", "plan": plan(SPEC), "model": MODEL} | view
    if seen.get("job") and "made_from" not in seen:
        seen["made_from"] = record_of_plan(SPEC, 3, seen.pop("plan"), "weights", MODEL["status"]["model"])
    result = batch_status(SPEC, labels or {}, 3, previous or {}, BatchView(**seen))
    Qwen3BatchStatus.model_validate(result)
    assert [c["type"] for c in result["conditions"]] == list(BATCH_TYPES)
    return result


def reported(result: dict[str, Any], type: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(c for c in result["conditions"] if c["type"] == type)
    return found["status"], found["reason"], found["message"]


def test_shards_are_added_up() -> None:
    tails = {
        "pod-0": line(0, 10, tokensPerSecond=200, etaSeconds=40),
        "pod-1": line(1, 30, tokensPerSecond=600, etaSeconds=10),
    }
    result = status(job=job(), pods=[pod(1), pod(0)], log_tails=tails)
    assert result["requests"] == {"done": 40, "failed": 0, "total": 100}
    assert result["tokens"] == {"prompt": 400, "completion": 4000}
    assert result["tokensPerSecond"] == 800
    assert result["etaSeconds"] == 20  # 60 lines to go, 1 and 2 a second
    assert reported(result, "Completed") == (
        "False",
        "Running",
        "40 of 100 lines are finished, 800 tokens/s, about 20 s to go",
    )
    assert reported(result, "Reconciling")[0] == "True"


def test_a_shard_whose_pod_is_replaced_keeps_its_counts() -> None:
    before = status(job=job(), pods=[pod(0)], log_tails={"pod-0": line(0, 10)})
    killed = pod(0, ended={}, code=137, text="Killed")
    result = status(before, job=job(), pods=[pod(0, name="pod-0b"), killed], log_tails={"pod-0b": ""})
    assert result["requests"]["done"] == 10
    tails, later = {"pod-0b": line(0, 15)}, NOW + timedelta(seconds=60)
    after = status(result, job=job(), pods=[pod(0, name="pod-0b"), killed], log_tails=tails, now=later)
    assert after["requests"]["done"] == 15


@pytest.mark.parametrize(
    ("done", "seconds", "written"), [(10, 60, False), (11, 60, True), (11, 4, False), (50, 1, False)]
)
def test_progress_is_written_by_the_percent_and_not_too_often(done: int, seconds: float, written: bool) -> None:
    before = status(job=job(), pods=[pod(0)], log_tails={"pod-0": line(0, 10)})
    later = NOW + timedelta(seconds=seconds)
    after = status(before, job=job(), pods=[pod(0)], log_tails={"pod-0": line(0, done)}, now=later)
    assert (after["requests"]["done"] == done and after["progressAt"] != before["progressAt"]) is written


def test_the_end() -> None:
    pods = [pod(i, ended=said(i, 50, result="Complete", merged=i == 1)) for i in (0, 1)]
    result = status({"etaSeconds": 7}, job=job("Complete"), pods=pods)
    assert reported(result, "Ready") == ("True", "Completed", "100 of 100 lines are finished")
    assert reported(result, "Reconciling")[0] == "False"
    assert (result["output"], result["job"]["result"], result["job"]["finishedAt"]) == (
        "answers:a/out.jsonl",
        "Complete",
        LATER,
    )
    assert result["tokensPerSecond"] == 10_000 // 500
    assert "etaSeconds" not in result
    assert is_over(result)


def test_parts_that_nobody_put_together() -> None:
    pods = [pod(i, ended=said(i, 50, result="Complete", merged=False)) for i in (0, 1)]
    result = status(job=job("Complete"), pods=pods)
    assert reported(result, "Completed")[:2] == ("False", "NotMerged")
    assert "delete the Job nightly-1" in reported(result, "Stalled")[2]
    assert not is_over(result)


@pytest.mark.parametrize(
    ("condition", "report", "reason", "words"),
    [
        (
            "PodFailurePolicy",
            {"result": "Failed", "reason": "InputEmpty", "message": "is empty"},
            "InputEmpty",
            "is empty",
        ),
        (
            "DeadlineExceeded",
            {"result": "Failed", "reason": "Terminated", "message": "x"},
            "DeadlineExceeded",
            "spec.active",
        ),
        ("FailedIndexes", {"result": "Failed", "reason": "EngineDied", "message": "boom"}, "EngineDied", "boom"),
        (
            "PodFailurePolicy",
            {"result": "Failed", "reason": "AnswersWrong", "message": "the engine ...: reasoning parser deepseek_r1"},
            "AnswersWrong",
            "the engine ...: reasoning parser deepseek_r1",
        ),
    ],
)
def test_a_job_that_failed(condition: str, report: dict[str, Any], reason: str, words: str) -> None:
    result = status(job=job("Failed", condition), pods=[pod(0, ended=report, code=10)])
    assert reported(result, "Completed")[:2] == ("False", reason)
    assert words in reported(result, "Completed")[2]
    assert reported(result, "Stalled")[:2] == ("True", reason)
    assert result["job"]["result"] == "Failed"


def test_vllms_log_says_why_the_engine_does_not_start() -> None:
    report = {"result": "Failed", "reason": "EngineStartFailed", "message": "Engine core initialization failed."}
    ended = pod(0, ended=report, code=1)
    log = "ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3)."
    result = status(job=job("Failed"), pods=[PodView(ended.pod, log)])
    assert reported(result, "Completed")[1] not in ("EngineStartFailed", "PodFailed")
    assert "32" in reported(result, "Completed")[2]


def test_a_failed_try_is_reported_while_the_job_goes_on() -> None:
    report = {"result": "Failed", "reason": "EngineDied", "message": "boom"}
    result = status(job=job(), pods=[pod(0, ended=report, code=1)])
    assert reported(result, "Completed")[:2] == ("False", "EngineDied")
    assert "the Job tries again" in reported(result, "Completed")[2]
    assert reported(result, "Stalled")[0] == "False"


def test_a_shard_waits_for_a_secret() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}
    started = pod(0).pod
    containers = [{"name": "vllm", "state": {"waiting": waiting}}]
    it = PodView({**started, "status": {**started["status"], "phase": "Pending", "containerStatuses": containers}})
    found = status(job=job(), pods=[it])
    assert reported(found, "Completed")[:2] == ("False", "SecretNotFound")
    assert reported(found, "Stalled")[:2] == ("False", "NotStalled"), "it may be applied a moment later"


def test_suspended_by_the_queue() -> None:
    result = status(labels={"kueue.x-k8s.io/queue-name": "nights"}, job=job(suspend=True))
    assert reported(result, "Completed")[1] == "Queued"
    assert "queue nights" in reported(result, "Ready")[2]


def test_problems_come_first() -> None:
    problem = Problem(Reason.OUTPUT_IN_USE, "is the output of Qwen3Batch first", "spec.output.claim.path")
    result = status(problems=[problem])
    assert reported(result, "Accepted") == ("False", "OutputInUse", f"{problem.field}: {problem.message}")
    assert reported(result, "Stalled")[0] == "True"


def test_nothing_is_known_yet() -> None:
    result = status(plan=None, model=None)
    assert {c["status"] for c in result["conditions"][1:5]} == {"Unknown"}


# --- what pods say, garbage included

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2**53 - 1, 2**53, 2**63])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["Failed", "Complete", "progress", "OutOfMemory"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
SAID = st.dictionaries(
    st.sampled_from(
        [
            *("event", "total", "done", "failed", "promptTokens", "completionTokens", "tokensPerSecond", "etaSeconds"),
            *("lines", "result", "reason", "message", "merged"),
        ]
    ),
    VALUES,
)


@given(
    st.lists(st.tuples(SAID, st.sampled_from(["0", "1", "255", "256", "-1", "\u00b2", "9" * 20, ""]), st.booleans()))
)
def test_no_words_of_a_pod_break_the_status(pods: list[tuple[dict[str, Any], str, bool]]) -> None:
    """Attack 22: whatever the runner's container says, the status is one that the API server takes."""
    views, tails = [], {}
    for number, (said, index, over) in enumerate(pods):
        view = pod(number, ended=said if over else None, name=f"pod-{number}", code=number % 2)
        view.pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = index
        views.append(view)
        tails[view.name] = json.dumps(said | {"event": "progress"})
    for ended in (None, "Complete", "Failed"):
        seen = BatchView(now=NOW, job=job(ended, "JobFailed"), pods=views, log_tails=tails, model=MODEL)
        status = batch_status(SPEC, {}, 1, {}, seen)
        Qwen3BatchStatus.model_validate(json.loads(json.dumps(status, allow_nan=False)), strict=False)


def test_a_deep_line_is_no_progress() -> None:
    event = {"event": "progress", "total": 4, "done": 1}
    assert progress_line(json.dumps(event) + "\n" + '{"event":' * 1600) == {"total": 4, "done": 1}
    views = [pod(0, text='{"lines": ' + "[" * 4000)]
    assert lines_of_input(views, {}) is None and shards([], views, {}) == []


def test_shards_that_claim_more_than_there_is_are_cut() -> None:
    most = 2**53 - 1
    found = [{"index": i, "total": most, "done": most, "failed": most, "etaSeconds": 0} for i in range(3)]
    counted = progress({}, found, 4, NOW)
    assert counted["requests"] == {"done": most, "failed": most, "total": 4}


def test_the_pace_is_shown_before_the_first_line_is_finished() -> None:
    shard = {"index": 0, "total": 10, "done": 0, "failed": 0, "tokensPerSecond": 0}
    first = progress({}, [shard], 10, NOW)
    assert first["requests"] == {"done": 0, "failed": 0, "total": 10}
    later = NOW + timedelta(seconds=10)
    second = progress(first, [shard | {"tokensPerSecond": 5210}], 10, later)
    assert (second["tokensPerSecond"], second["progressAt"]) == (5210, "2026-01-01T12:00:10Z")
    third = progress(second, [shard | {"tokensPerSecond": 5000}], 10, later + timedelta(seconds=10))
    assert third == second, "the pace alone is written once a minute"
    assert progress(second, [shard | {"tokensPerSecond": 5000}], 10, later + timedelta(seconds=61)) != second

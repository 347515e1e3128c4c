"""A server meets a fault in a verified copy: what it notes, what its model makes of it, and what others see of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES
from qwen3_operator.api.model import Qwen3ModelSpec, Qwen3ModelStatus
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.naming import model_path
from qwen3_operator.settings import Settings
from qwen3_operator.status.conditions import Conditions
from qwen3_operator.status.model import model_status
from qwen3_operator.status.model_fault import fault_at, is_in_order, suspected_at
from qwen3_operator.status.model_ready import set_model_ready
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.view import ModelView

LOGS = Path(__file__).parent.parent / "engine" / "data" / "logs"
VERIFIED, LATER, LATEST = "2026-01-01T12:00:00Z", "2026-01-01T12:10:00Z", "2026-01-01T12:20:00Z"
NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
SPEC = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B"})
CLAIM = {"metadata": {"name": "m", "uid": "u1"}, "status": {"phase": "Bound"}}
COPY = {
    "commit": "c0ffee",
    "revision": "master",
    "path": model_path(SPEC),
    "claim": "m",
    "claimUid": "u1",
    "verifiedAt": VERIFIED,
}


def crashed(log: str, started: str, *, state: str = "lastState") -> PodView:
    """A pod whose container ended with one of the logs of real starts."""
    ended = {"terminated": {"exitCode": 1, "startedAt": started, "finishedAt": started}}
    containers = [{"name": "vllm", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, state: ended}]
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": containers}}
    return PodView(pod, (LOGS / f"{log}.txt").read_text())


@pytest.mark.parametrize("log", ["no-weights", "empty-folder", "missing-path", "cut-weights"])
@pytest.mark.parametrize("state", ["state", "lastState"])
def test_a_start_that_ended_for_the_files_is_noted(log: str, state: str) -> None:
    assert fault_at({}, [crashed(log, LATER, state=state)], COPY) == LATER


@pytest.mark.parametrize("log", ["too-long", "hub-id", "port-taken", "kv-too-small"])
def test_other_ends_are_not(log: str) -> None:
    assert fault_at({}, [crashed(log, LATER)], COPY) is None


def test_a_start_before_the_verification_is_not() -> None:
    assert fault_at({}, [crashed("no-weights", VERIFIED)], COPY) is None


def test_the_first_note_stays_until_the_copy_is_verified() -> None:
    """Each crash of a loop would be a write otherwise."""
    before = {"modelFaultAt": LATER, "model": {"claimUid": "u1"}}
    assert fault_at(before, [crashed("no-weights", LATEST)], COPY) == LATER
    assert fault_at(before, [], COPY) == LATER
    assert fault_at(before, [], COPY | {"verifiedAt": LATEST}) is None
    assert fault_at(before, [], None) is None


def test_the_note_of_another_copy_does_not_count() -> None:
    assert fault_at({"modelFaultAt": LATER, "model": {"claimUid": "other"}}, [], COPY) is None


def user(at: str, model: str = "m") -> dict[str, Any]:
    return {"status": {"modelFaultAt": at, "model": {"name": model}}}


def test_the_first_fault_since_the_verification_counts() -> None:
    assert suspected_at(COPY, [user(LATER), user(LATEST), {"metadata": {}}], "m") == LATER
    assert suspected_at(COPY, [user(VERIFIED)], "m") == ""
    assert suspected_at(COPY, [user(LATER, "other")], "m") == ""


def test_a_copy_that_was_found_in_order_rests_for_an_hour() -> None:
    in_order = COPY | {"repairedFiles": 0}
    assert is_in_order(in_order) and not is_in_order(COPY) and not is_in_order(COPY | {"repairedFiles": 2})
    assert suspected_at(in_order, [user(LATER)], "m") == ""
    assert suspected_at(in_order, [user("2026-01-01T13:00:01Z")], "m") == "2026-01-01T13:00:01Z"
    assert suspected_at(COPY | {"repairedFiles": 2}, [user(LATER)], "m") == LATER


def status_of(view: ModelView) -> dict[str, Any]:
    it = model_status("m", SPEC, 1, {"model": COPY}, view)
    Qwen3ModelStatus.model_validate(it)
    return it


def job(*conditions: str) -> dict[str, Any]:
    reported = [{"type": c, "status": "True", "lastTransitionTime": LATEST} for c in conditions]
    return {"metadata": {"name": "j"}, "status": {"conditions": reported, "completionTime": LATEST}}


def test_the_copy_is_verified_again_and_served_meanwhile() -> None:
    verifying = status_of(ModelView(NOW, claim=CLAIM, step=Step.REPAIR, suspected_at=LATER, job=job()))
    ready = next(c for c in verifying["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Verifying") and LATER in ready["message"]
    assert verifying["model"] == COPY
    report = {"result": "Complete", "commit": "c0ffee", "bytes": 9, "files": 3, "fetchedFiles": 1}
    ended = {"terminated": {"exitCode": 0, "message": json.dumps(report), "finishedAt": LATEST}}
    pod = {
        "metadata": {"name": "p"},
        "status": {"phase": "Succeeded", "containerStatuses": [{"name": "download", "state": ended}]},
    }
    view = ModelView(NOW, claim=CLAIM, step=Step.REPAIR, suspected_at=LATER, job=job("Complete"), pods=[PodView(pod)])
    mended = status_of(view)
    assert (mended["model"]["verifiedAt"], mended["model"]["repairedFiles"]) == (LATEST, 1)
    assert suspected_at(mended["model"], [user(LATER)], "m") == ""


def test_the_job_verifies_every_file_and_is_another_for_each_fault() -> None:
    names = set()
    for moment in (LATER, LATEST):
        made = model_job("team", "m", "u", SPEC, Settings(), Step.REPAIR, causes=["u1", "18Gi", moment])
        assert "--verify" in made["spec"]["template"]["spec"]["containers"][0]["args"]
        names.add(made["metadata"]["name"])
    assert len(names) == 2


@pytest.mark.parametrize(
    ("fault", "stalled", "expected"),
    [
        (LATER, "False", ("False", "Verifying", "False")),
        (LATER, "True", ("False", "Verifying", "True")),
        (None, "False", ("True", "VerifiedAgain", "False")),
    ],
)
def test_who_met_the_fault_waits_and_others_go_on(fault: str | None, stalled: str, expected: tuple[str, ...]) -> None:
    of_model = [
        {"type": "Ready", "status": "False", "reason": "Verifying", "message": "words"},
        {"type": "Stalled", "status": stalled, "reason": "Verifying", "message": "words"},
    ]
    model = {"metadata": {"name": "m"}, "spec": {}, "status": {"conditions": of_model, "model": COPY}}
    assert seen_by_a_user(model, fault) == expected


def seen_by_a_user(model: dict[str, Any], fault: str | None = None) -> tuple[str, ...]:
    """ModelReady, its reason, and Stalled."""
    conditions = Conditions(DEPLOYMENT_TYPES)
    set_model_ready(conditions, model, fault)
    conditions.summarize(Reason.SERVING, "")
    reported = {c["type"]: c for c in conditions.as_status({}, generation=1, now=NOW)}
    ready = reported["ModelReady"]
    return ready["status"], ready["reason"], reported["Stalled"]["status"]


@pytest.mark.parametrize(
    ("reason", "bound", "spec", "expected"),
    [
        ("VolumeLost", "False", {"id": "Qwen/Qwen3-8B"}, ("False", "VolumeLost", "True")),
        ("VolumeLost", "False", {"id": "Qwen/Qwen3-8B", "revision": "v2"}, ("False", "VolumeLost", "True")),
        ("InvalidSpec", "True", {"id": "Qwen/Qwen3-8B", "revision": ["v2"]}, ("True", "InvalidSpec", "False")),
        ("ReconcileFailed", "True", {"id": "Qwen/Qwen3-8B"}, ("True", "ReconcileFailed", "False")),
        (
            "Downloading",
            "True",
            {"id": "Qwen/Qwen3-8B", "download": {"allowPatterns": ["*.json"]}},
            ("True", "ServesRevisionBefore", "False"),
        ),
    ],
)
def test_what_else_is_wrong_with_a_model_is_no_verification(
    reason: str, bound: str, spec: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """Its copy is served for as long as there is a volume."""
    of_model = [
        {"type": "VolumeBound", "status": bound, "reason": reason, "message": "words"},
        {"type": "Ready", "status": "False", "reason": reason, "message": "words"},
        {"type": "Stalled", "status": "True", "reason": reason, "message": "words"},
    ]
    status = {"conditions": of_model, "model": COPY, "observedGeneration": 1}
    model = {"metadata": {"name": "m", "generation": 1}, "spec": spec, "status": status}
    assert seen_by_a_user(model) == expected

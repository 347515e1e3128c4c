"""Status of a Qwen3Model in every situation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qwen3_operator.api.model import Qwen3ModelSpec, Qwen3ModelStatus
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.desired.download import Step
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.download import LONGEST_RETRY, retry_at
from qwen3_operator.status.model import is_complete, model_status, unreadable_status
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.view import FIRST_RETRY_SECONDS, ModelView

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
STARTED, ENDED = "2026-01-01T11:00:00Z", "2026-01-01T11:59:50Z"
SPEC = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B"})
REPORT = {"result": "Complete", "commit": "c0ffee", "bytes": 100, "files": 3, "weightsBytes": 90, "config": {"a": 1}}
REPORT["checkpoint"] = {"tensors": {"model": {"BF16": 90}}}
BOUND = {"metadata": {"name": "claim", "uid": "claim-1"}, "status": {"phase": "Bound", "capacity": {"storage": "18Gi"}}}
PENDING = {"metadata": {"name": "claim", "uid": "claim-1"}, "status": {"phase": "Pending"}}


def job(*, ended: str | None = None, at: str = ENDED, name: str = "job-1", started: str = STARTED) -> dict[str, Any]:
    conditions = [{"type": ended, "status": "True", "lastTransitionTime": at}] if ended else []
    status: dict[str, Any] = {"startTime": started, "conditions": conditions}
    return {"metadata": {"name": name}, "status": status | ({"completionTime": at} if ended == "Complete" else {})}


def ended_pod(report: Any, code: int = 0) -> PodView:
    ended = {"exitCode": code, "message": json.dumps(report), "finishedAt": ENDED}
    containers = [{"name": "download", "state": {"terminated": ended}}]
    phase = "Failed" if code else "Succeeded"
    return PodView({"metadata": {"name": "pod"}, "status": {"phase": phase, "containerStatuses": containers}})


def waiting_pod(reason: str, message: str = "") -> PodView:
    containers = [{"name": "download", "image": "x", "state": {"waiting": {"reason": reason, "message": message}}}]
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    status = {"phase": "Pending", "containerStatuses": containers, "conditions": scheduled}
    return PodView({"metadata": {"name": "pod"}, "status": status})


def unplaced_pod() -> PodView:
    words = "0/1 nodes are available: 1 Insufficient cpu."
    scheduled = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]
    return PodView({"metadata": {"name": "pod"}, "status": {"phase": "Pending", "conditions": scheduled}})


def status(view: ModelView, previous: dict[str, Any] | None = None, spec: Qwen3ModelSpec = SPEC) -> dict[str, Any]:
    it = model_status("m", spec, 4, previous or {}, view)
    Qwen3ModelStatus.model_validate(it)
    assert [c["observedGeneration"] for c in it["conditions"]] == [4] * 6
    return it


def reported(it: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in it["conditions"]}


CONFIG_ERROR, NO_KEY = "CreateContainerConfigError", "couldn't find key token in Secret team/t"
FAILED_REPORT = {"result": "Failed", "reason": "ModelNotFound", "message": "there is no such model"}
HUB_AWAY = {"result": "Failed", "reason": "HubUnavailable", "message": "the hub does not answer"}
NO_LIMIT = 'pods "m-x" is forbidden: failed quota: team-a: must specify limits.cpu for: download'
SITUATIONS: dict[str, tuple[ModelView, dict[str, tuple[str, str]]]] = {
    "nothing yet": (
        ModelView(NOW),
        {"Downloaded": ("False", "Waiting"), "Ready": ("False", "Waiting"), "Reconciling": ("True", "Waiting")},
    ),
    "the claim waits for its first pod": (
        ModelView(NOW, claim=PENDING, job=job()),
        {"VolumeBound": ("Unknown", "Pending"), "Ready": ("False", "Downloading"), "Stalled": ("False", "NotStalled")},
    ),
    "the claim cannot bind": (
        ModelView(NOW, claim=PENDING, claim_events=["ProvisioningFailed: no such class"], job=job()),
        {
            "VolumeBound": ("False", "VolumeNotBound"),
            "Ready": ("False", "VolumeNotBound"),
            "Reconciling": ("True", "VolumeNotBound"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the provisioner tries again": (
        ModelView(
            NOW + timedelta(minutes=5),
            claim=PENDING,
            claim_events=["ProvisioningFailed: rpc error: code = DeadlineExceeded desc = context deadline exceeded"],
            job=job(),
        ),
        {
            "VolumeBound": ("False", "ProvisionerFailed"),
            "Reconciling": ("True", "ProvisionerFailed"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the volume is lost": (
        ModelView(NOW, claim={**PENDING, "status": {"phase": "Lost"}}),
        {"VolumeBound": ("False", "VolumeLost"), "Stalled": ("True", "VolumeLost")},
    ),
    "a Secret is missing": (
        ModelView(NOW, claim=PENDING, problems=[Problem(Reason.SECRET_NOT_FOUND, "Secret t does not exist")]),
        {
            "Accepted": ("False", "SecretNotFound"),
            "Downloaded": ("False", "SecretNotFound"),
            "Reconciling": ("True", "SecretNotFound"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "its pod waits for a Secret": (
        ModelView(NOW, claim=PENDING, job=job(), pods=[waiting_pod(CONFIG_ERROR, 'secret "t" not found')]),
        {"Downloaded": ("False", "SecretNotFound"), "Stalled": ("False", "NotStalled")},
    ),
    "the pod that lists waits for a key of a Secret": (
        ModelView(NOW, step=Step.LIST, job=job(), pods=[waiting_pod(CONFIG_ERROR, NO_KEY)]),
        {"Downloaded": ("False", "SecretKeyNotFound"), "Stalled": ("False", "NotStalled")},
    ),
    "its token would go to an address that nobody allowed": (
        ModelView(NOW, claim=PENDING, problems=[Problem(Reason.INSECURE_ENDPOINT, "use https://", "spec.endpoint")]),
        {
            "Accepted": ("False", "InsecureEndpoint"),
            "Ready": ("False", "InsecureEndpoint"),
            "Stalled": ("True", "InsecureEndpoint"),
        },
    ),
    "it downloads": (
        ModelView(NOW, claim=BOUND, job=job()),
        {
            "VolumeBound": ("True", "Bound"),
            "Downloaded": ("False", "Downloading"),
            "Reconciling": ("True", "Downloading"),
        },
    ),
    "the pod has no node": (
        ModelView(NOW, claim=BOUND, job=job(), pods=[unplaced_pod()]),
        {"Downloaded": ("False", "InsufficientHostResources"), "Stalled": ("False", "NotStalled")},
    ),
    "the pod's configuration is wrong": (
        ModelView(NOW, claim=BOUND, job=job(), pods=[waiting_pod("InvalidImageName", "bad")]),
        {"Stalled": ("True", "InvalidImageName")},
    ),
    "a try failed, the Job goes on": (
        ModelView(NOW, claim=BOUND, job=job(), pods=[ended_pod(FAILED_REPORT, 1)]),
        {"Downloaded": ("False", "ModelNotFound"), "Stalled": ("False", "NotStalled")},
    ),
    "the API server takes no pod of the Job": (
        ModelView(NOW, claim=PENDING, job=job(), pods_refused=NO_LIMIT),
        {"Downloaded": ("False", "QuotaExceeded"), "Stalled": ("True", "QuotaExceeded")},
    ),
    "the API server failed at the pods of the Job": (
        ModelView(NOW, claim=PENDING, job=job(), pods_refused="etcdserver: request timed out"),
        {"Downloaded": ("False", "PodNotCreated"), "Stalled": ("False", "NotStalled")},
    ),
    "the Job failed": (
        ModelView(NOW, claim=BOUND, job=job(ended="Failed"), pods=[ended_pod(FAILED_REPORT, 10)]),
        {
            "Downloaded": ("False", "ModelNotFound"),
            "Ready": ("False", "ModelNotFound"),
            "Stalled": ("True", "ModelNotFound"),
        },
    ),
    "the Job failed without a word": (
        ModelView(NOW, claim=BOUND, job=job(ended="Failed")),
        {
            "Downloaded": ("False", "DownloadFailed"),
            "Reconciling": ("True", "DownloadFailed"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the hub is away, and the Job gave up": (
        ModelView(NOW, claim=BOUND, job=job(ended="Failed"), pods=[ended_pod(HUB_AWAY, 30)]),
        {
            "Downloaded": ("False", "HubUnavailable"),
            "Reconciling": ("True", "HubUnavailable"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the Job is complete and its report is gone": (
        ModelView(NOW, claim=BOUND, job=job(ended="Complete")),
        {"Downloaded": ("False", "DownloadFailed")},
    ),
    "it is in place": (
        ModelView(NOW, claim=BOUND, job=job(ended="Complete"), pods=[ended_pod(REPORT)]),
        {"Downloaded": ("True", "Verified"), "Ready": ("True", "Ready"), "Reconciling": ("False", "Settled")},
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_conditions(situation: str) -> None:
    view, expected = SITUATIONS[situation]
    found = reported(status(view))
    assert {kind: found[kind] for kind in expected} == expected


def test_the_copy_is_what_the_report_says() -> None:
    view, _ = SITUATIONS["it is in place"]
    copy = status(view)["model"]
    assert copy == {
        "commit": "c0ffee",
        "revision": "master",
        "claim": "m",
        "claimUid": "claim-1",
        "path": copy["path"],
        "bytes": 100,
        "files": 3,
        "weightsBytes": 90,
        "config": {"a": 1},
        "checkpoint": {"tensors": {"model": {"BF16": 90}}},
        "verifiedAt": "2026-01-01T11:59:50Z",
    }
    assert is_complete(SPEC, {"model": copy}, BOUND)
    assert status(view)["size"] == "18Gi"


def test_what_is_in_place_needs_neither_job_nor_pods() -> None:
    before = status(SITUATIONS["it is in place"][0])
    later = status(ModelView(NOW + timedelta(days=9), claim=BOUND), before)
    assert later["conditions"] == before["conditions"] and later["model"] == before["model"]


@pytest.mark.parametrize(
    "spec",
    [
        {"revision": "v2"},
        {"storage": {"existingClaim": {"name": "c", "path": "p"}}},
    ],
)
def test_another_revision_or_place_is_not_complete(spec: dict[str, Any]) -> None:
    copy = status(SITUATIONS["it is in place"][0])["model"]
    assert not is_complete(Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B", **spec}), {"model": copy}, BOUND)
    assert not is_complete(SPEC, {"model": copy}, None), "the claim is gone"
    assert not is_complete(SPEC, {"model": copy}, {"metadata": {"uid": "claim-2"}}), "the claim is another"


def test_the_copy_of_the_revision_before_stays_on_record() -> None:
    before = status(SITUATIONS["it is in place"][0])
    newer = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B", "revision": "v2"})
    later = status(ModelView(NOW, claim=BOUND, job=job(name="job-2")), before, newer)
    assert later["model"] == before["model"] and reported(later)["Ready"][0] == "False"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_second_reconcile_says_the_same(situation: str) -> None:
    view, _ = SITUATIONS[situation]
    first = status(view)
    if reported(first)["Reconciling"][1] in (
        "SecretNotFound",
        "SecretKeyNotFound",
        "VolumeNotBound",
    ):  # once it is not waited for any more
        first = status(ModelView(**{**vars(view), "now": NOW + timedelta(seconds=20)}), first)
    later = ModelView(**{**vars(view), "now": NOW + timedelta(seconds=30)})
    assert status(later, first) == first, "a status that moves by itself is written for ever"


@pytest.mark.parametrize(
    ("reason", "needs_person"),
    [
        *((reason, True) for reason in ("Usage", "ModelNotFound", "RevisionNotFound", "Unauthorized", "DiskFull")),
        *((reason, True) for reason in ("IntegrityError", "InvalidRepository")),
        *((reason, False) for reason in ("HubUnavailable", "VolumeError", "Stopped")),
    ],
)
def test_a_failed_download_is_stalled_only_where_another_try_does_not_mend_it(reason: str, needs_person: bool) -> None:
    """And the summary is the same all the while: a new try that gets no further is no news."""
    pods = [ended_pod(FAILED_REPORT | {"reason": reason}, 1)]
    it: dict[str, Any] = {}
    for number in range(3):
        began, ended = (timestamp(NOW + timedelta(minutes=2 * number + minute)) for minute in (0, 1))
        for view in (
            ModelView(NOW, claim=BOUND, job=job(started=began)),
            ModelView(NOW, claim=BOUND, job=job(started=began), pods=pods),
            ModelView(NOW, claim=BOUND, job=job(ended="Failed", at=ended, started=began), pods=pods),
        ):
            it = status(view, it)
            found = reported(it)
            if it["download"].get("failures"):
                assert found["Downloaded"] == found["Ready"] == ("False", reason)
                assert (found["Stalled"][0] == "True") == needs_person
                assert (found["Reconciling"][0] == "True") == (not needs_person)
                assert "tried again" in next(c["message"] for c in it["conditions"] if c["type"] == "Ready")
    assert it["download"]["failures"] == 3


def test_a_try_that_gets_further_than_the_one_before_ends_the_failure() -> None:
    def at(done: int, before: dict[str, Any], **fields: Any) -> dict[str, Any]:
        line = json.dumps({"event": "progress", "bytesDone": done, "bytesTotal": 1000})
        seen: dict[str, Any] = {"now": NOW, "claim": BOUND, "log_tail": line} | fields
        return status(ModelView(**seen), before)

    began = at(400, {}, job=job())
    failed = at(400, began, job=job(ended="Failed"), pods=[ended_pod(FAILED_REPORT, 10)])
    assert reported(failed)["Stalled"][0] == "True"
    again, later = job(started="2026-01-01T12:00:00Z"), NOW + timedelta(minutes=1)
    same = at(300, failed, job=again, now=later)
    assert reported(same)["Stalled"] == ("True", "ModelNotFound"), "it has not got further"
    further = at(500, same, job=again, now=later + timedelta(seconds=9))
    assert reported(further)["Downloaded"] == ("False", "Downloading") and reported(further)["Stalled"][0] == "False"
    assert "failure" not in further["download"]


def test_a_failure_that_an_earlier_release_wrote_has_its_words() -> None:
    view = ModelView(NOW, claim=BOUND, job=job(ended="Failed"), pods=[ended_pod(HUB_AWAY, 30)])
    before = status(view)
    del before["download"]["failure"]
    assert reported(status(view, before))["Downloaded"] == ("False", "HubUnavailable")


def test_progress_is_written_for_people() -> None:
    line = json.dumps({"event": "progress", "bytesDone": 13 << 30, "bytesTotal": 16 << 30})
    found = status(ModelView(NOW, claim=BOUND, job=job(), log_tail=line))
    assert found["download"]["progress"] == "13.0 of 16.0 GiB"
    assert next(c["message"] for c in found["conditions"] if c["type"] == "Downloaded") == "13.0 of 16.0 GiB"
    done = status(SITUATIONS["it is in place"][0], found)
    assert done["download"]["progress"] == "100 B"


def test_a_refusal_does_not_make_a_copy_unready() -> None:
    copy = status(SITUATIONS["it is in place"][0])
    refused = [Problem(Reason.CLAIM_REFUSED, "exceeded quota")]
    found = reported(status(ModelView(NOW, claim=BOUND, problems=refused), copy))
    assert found["Accepted"] == ("True", "AcceptedWithWarnings") and found["Ready"] == ("True", "Ready")


def test_a_smaller_size_says_that_it_has_no_effect() -> None:
    smaller = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B", "storage": {"size": "10Gi"}})
    claim = BOUND | {"spec": {"resources": {"requests": {"storage": "18Gi"}}}}
    found = status(ModelView(NOW, claim=claim, job=job()), spec=smaller)
    accepted = next(c for c in found["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "AcceptedWithWarnings" and "claim claim has 18Gi" in accepted["message"]
    assert reported(status(ModelView(NOW, claim=claim, job=job())))["Accepted"] == ("True", "Accepted")


@pytest.mark.parametrize(("failures", "seconds"), [(1, 15), (2, 30), (3, 60), (6, 480), (7, 900), (50, 900), (0, 15)])
def test_back_off_doubles_to_a_limit(failures: int, seconds: int) -> None:
    assert retry_at(failures, NOW) == NOW + timedelta(seconds=seconds)
    assert FIRST_RETRY_SECONDS <= seconds <= FIRST_RETRY_SECONDS * LONGEST_RETRY


def test_failures_are_counted_job_by_job() -> None:
    it: dict[str, Any] = {}
    for number in range(1, 4):
        ended = timestamp(NOW + timedelta(minutes=number))
        failed = job(ended="Failed", at=ended, started=timestamp(NOW + timedelta(minutes=number - 1)))
        for _ in range(2):  # the same Job seen again counts nothing
            it = status(ModelView(NOW, claim=BOUND, job=failed, pods=[ended_pod(FAILED_REPORT, 10)]), it)
        assert it["download"]["failures"] == number
        assert it["download"]["finishedAt"] == ended
        assert parse_time(it["download"]["retryAt"]) == retry_at(number, parse_time(ended) or NOW)
    assert it["download"]["retryAt"] in next(c["message"] for c in it["conditions"] if c["type"] == "Downloaded")


def test_success_forgets_the_failures() -> None:
    failed = status(ModelView(NOW, claim=BOUND, job=job(ended="Failed"), pods=[ended_pod(FAILED_REPORT, 10)]))
    again = job(ended="Complete", started="2026-01-01T13:00:00Z")
    done = status(ModelView(NOW, claim=BOUND, job=again, pods=[ended_pod(REPORT)]), failed)["download"]
    assert not {"failures", "retryAt", "etaSeconds"} & set(done) and done["bytesDone"] == done["bytesTotal"] == 100


def test_another_job_starts_its_failures_afresh() -> None:
    """A new Job name is a new wish: a changed token, another revision."""
    failed = status(ModelView(NOW, claim=BOUND, job=job(ended="Failed"), pods=[ended_pod(FAILED_REPORT, 10)]))
    other = status(ModelView(NOW, claim=BOUND, job=job(name="job-2", started=ENDED)), failed)["download"]
    assert "failures" not in other and "retryAt" not in other


def test_progress_is_written_by_the_percent() -> None:
    def after(done: int, before: dict[str, Any], now: datetime = NOW + timedelta(seconds=5)) -> dict[str, Any]:
        line = json.dumps({"event": "progress", "bytesDone": done, "bytesTotal": 1000})
        return status(ModelView(now, claim=BOUND, job=job(), log_tail=line), before)

    first = after(100, {}, NOW)
    assert first["download"]["bytesDone"] == 100
    assert after(105, first) == first, "half a percent is not worth a write"
    assert after(110, first)["download"]["bytesDone"] == 110
    assert after(110, first, NOW + timedelta(seconds=4)) == first, "nor is a write within 5 s"
    assert after(1000, after(995, first), NOW + timedelta(seconds=6))["download"]["bytesDone"] == 1000, "but the end is"
    assert after(90, first)["download"]["bytesDone"] == 100, "it only grows"


def test_suspended() -> None:
    spec = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B", "suspend": True})
    found = reported(status(ModelView(NOW, claim=BOUND), spec=spec))
    assert found["Ready"] == ("False", "Suspended") and found["Reconciling"][0] == "False"
    assert found["Stalled"][0] == "False"
    copy = status(SITUATIONS["it is in place"][0])
    assert reported(status(ModelView(NOW, claim=BOUND), copy, spec))["Ready"] == ("True", "Ready"), (
        "what is there is ready"
    )


def test_users_are_sorted_and_absent_when_none() -> None:
    assert status(ModelView(NOW, used_by=["b", "a"]))["usedBy"] == ["a", "b"]
    assert "usedBy" not in status(ModelView(NOW))


def test_a_spec_that_cannot_be_read_is_reported_and_the_copy_stays() -> None:
    copy = {"commit": "c0ffee", "revision": "master", "path": "p", "claimUid": "claim-1"}
    problem = Problem(Reason.INVALID_SPEC, "spec.id: too long")
    status = unreadable_status(problem, 7, {"model": copy}, NOW)
    reported = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert reported["Accepted"] == ("False", "InvalidSpec")
    assert reported["Ready"] == ("False", "InvalidSpec")
    assert reported["Stalled"] == ("True", "InvalidSpec")
    assert status["model"] == copy
    assert status["observedGeneration"] == 7

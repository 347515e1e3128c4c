"""A Qwen3Model's volume that is too small, copies that are superseded, and weights that were there before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from qwen3_operator.api.model import Qwen3ModelSpec, Qwen3ModelStatus
from qwen3_operator.desired.claim import claim_size, size_is_known
from qwen3_operator.desired.download import Step
from qwen3_operator.naming import model_path
from qwen3_operator.status.model import model_status
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.view import ModelView

Object = dict[str, Any]
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
THEN, ENDED = "2026-01-01T11:00:00Z", "2026-01-01T11:59:50Z"
GIB = 1 << 30


def spec(**fields: Any) -> Qwen3ModelSpec:
    return Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B"} | fields)


def claim(size: str = "20Gi", *, made: str = THEN, phase: str = "Bound", uid: str = "u1") -> Object:
    meta = {"name": "claim", "uid": uid, "creationTimestamp": made}
    return {"metadata": meta, "spec": {"resources": {"requests": {"storage": size}}}, "status": {"phase": phase}}


def ended(report: Object, kind: str, *, name: str = "job-1") -> Object:
    """Job and pods as fields of the view."""
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": ENDED}]
    job = {"metadata": {"name": name}, "status": {"startTime": THEN, "conditions": conditions}}
    terminated = {"exitCode": 0 if kind == "Complete" else 12, "message": json.dumps(report), "finishedAt": ENDED}
    containers = [{"name": "download", "state": {"terminated": terminated}}]
    pod = {"metadata": {"name": "pod"}, "status": {"phase": "Failed", "containerStatuses": containers}}
    return {"job": job, "pods": [PodView(pod)]}


def status_of(of: Qwen3ModelSpec, previous: Object | None = None, **view: Any) -> Object:
    it = model_status("m", of, 1, previous or {}, ModelView(NOW, **view))
    Qwen3ModelStatus.model_validate(it)
    return it


def condition(status: Object, kind: str) -> Object:
    found: Object = next(c for c in status["conditions"] if c["type"] == kind)
    return found


FULL = {"result": "Failed", "reason": "DiskFull", "message": "too small", "volumeBytes": 30 * GIB}
DONE = {"result": "Complete", "commit": "c0ffee", "bytes": 100, "files": 3, "verifiedBy": "hub"}


@pytest.mark.parametrize(
    ("fields", "live", "known", "size"),
    [
        ({}, None, {}, "18Gi"),
        ({"storage": {"size": "99Gi"}}, None, {"needed_bytes": 200 * GIB}, "99Gi"),
        ({"id": "a/b"}, None, {}, "50Gi"),
        ({"id": "a/b"}, claim("3Gi"), {}, "3Gi"),
        ({"id": "a/b"}, None, {"repository_bytes": 100 * 10**9}, "104Gi"),
        ({}, claim("10Gi"), {}, "18Gi"),
        ({}, claim("20Gi"), {}, "20Gi"),
        ({}, claim("20Gi"), {"needed_bytes": 30 * GIB}, "34Gi"),
        ({}, claim("40Gi"), {"needed_bytes": 30 * GIB}, "40Gi"),
        ({}, claim("10Gi", phase="Pending"), {"needed_bytes": 30 * GIB}, "10Gi"),
        ({"storage": {"size": "30Gi"}}, claim("20Gi"), {}, "30Gi"),
        ({"storage": {"size": "10Gi"}}, claim("20Gi"), {}, "20Gi"),
    ],
)
def test_size_of_the_claim(fields: Object, live: Object | None, known: Object, size: str) -> None:
    assert claim_size(spec(**fields), live, **known) == size


def test_whose_size_has_to_be_asked_for() -> None:
    assert size_is_known(spec(), None)
    assert size_is_known(spec(id="a/b", storage={"size": "1Gi"}), None)
    assert size_is_known(spec(id="a/b"), claim())
    assert not size_is_known(spec(id="a/b"), None)


@pytest.mark.parametrize(
    ("fields", "view", "stalled", "words"),
    [
        ({}, {"grows_to": "34Gi"}, "False", "The claim grows to 34Gi"),
        ({"storage": {"size": "20Gi"}}, {}, "True", "spec.storage.size: 34Gi is enough"),
        ({}, {"fixed_class": "local"}, "True", "StorageClass local does not let claim claim grow: delete the claim"),
        ({"storage": {"size": "20Gi"}}, {"fixed_class": "local"}, "True", "set spec.storage.size to 34Gi and delete"),
    ],
)
def test_a_full_volume_says_what_is_enough(fields: Object, view: Object, stalled: str, words: str) -> None:
    it = status_of(spec(**fields), claim=claim(), **ended(FULL, "Failed"), **view)
    assert words in condition(it, "Downloaded")["message"]
    assert condition(it, "Downloaded")["reason"] == "DiskFull"
    assert condition(it, "Stalled")["status"] == stalled
    assert it["download"]["volumeBytes"] == 30 * GIB


def test_a_file_system_that_is_not_the_claims_own_is_not_the_claims_to_grow() -> None:
    """A folder of the node's disk: a larger claim would not make it larger."""
    live = claim() | {"status": {"phase": "Bound", "capacity": {"storage": "20Gi"}}}
    disk = FULL | {"volumeBytes": 510 * GIB, "fileSystemBytes": 500 * GIB}
    it = status_of(spec(), claim=live, **ended(disk, "Failed"))
    assert "volumeBytes" not in it["download"] and "Gi" not in condition(it, "Downloaded")["message"]
    own = FULL | {"fileSystemBytes": 20 * GIB}
    assert status_of(spec(), claim=live, **ended(own, "Failed"))["download"]["volumeBytes"] == 30 * GIB


def test_a_claim_that_grows_still_says_so() -> None:
    live = claim("34Gi") | {"status": {"phase": "Bound", "capacity": {"storage": "20Gi"}}}
    it = status_of(spec(), claim=live, **ended(FULL, "Failed"))
    assert "asks for 34Gi and has 20Gi" in condition(it, "Downloaded")["message"]


def test_a_claim_made_anew_begins_anew_and_remembers_the_size() -> None:
    before = status_of(spec(), claim=claim(), **ended(FULL, "Failed"))
    before["download"] |= {"bytesDone": 90, "bytesTotal": 100}
    running = {"metadata": {"name": "job-2"}, "status": {"startTime": ENDED}}
    it = status_of(spec(), before, claim=claim(made="2026-01-01T11:30:00Z", uid="u2"), job=running)
    assert "bytesDone" not in it["download"] and it["download"]["volumeBytes"] == 30 * GIB
    kept = status_of(spec(), before, claim=claim(), job=running)
    assert kept["download"]["bytesDone"] == 90


def test_listing_is_no_copy() -> None:
    it = status_of(
        spec(id="a/b"), step=Step.LIST, **ended({"result": "Complete", "bytes": 100, "files": 3}, "Complete")
    )
    assert "model" not in it and condition(it, "Downloaded")["reason"] == "Listing"
    assert it["download"]["bytesTotal"] == 100 and "bytesDone" not in it["download"]


@pytest.mark.parametrize(
    ("witness", "reason", "words"),
    [
        ("hub", "Verified", "verified against the hub"),
        ("marker", "Verified", "against the marker of its download"),
        ("structure", "StructureVerified", "only their structure"),
    ],
)
def test_what_was_there_before_says_by_what_it_is_verified(witness: str, reason: str, words: str) -> None:
    there = spec(storage={"existingClaim": {"name": "claim", "path": "qwen"}})
    report = DONE | {"verifiedBy": witness} | ({"commit": ""} if witness == "structure" else {})
    it = status_of(there, claim=claim(), step=Step.CHECK, **ended(report, "Complete"))
    found = condition(it, "Downloaded")
    assert (found["status"], found["reason"]) == ("True", reason) and words in found["message"]
    assert condition(it, "Ready")["status"] == "True"
    assert it["model"]["verifiedBy"] == witness.capitalize()
    assert status_of(there, it, claim=claim()) == it, "and goes on saying so when the Job is gone"


def test_a_copy_is_superseded_when_the_next_is_there() -> None:
    one, two = spec(revision="v1"), spec(revision="v2")
    first = status_of(one, claim=claim(), **ended(DONE, "Complete"))
    assert "superseded" not in first
    running = {"metadata": {"name": "job-2"}, "status": {"startTime": ENDED}}
    meanwhile = status_of(two, first, claim=claim(), job=running)
    assert meanwhile["model"] == first["model"] and "superseded" not in meanwhile, "it is served"
    second = status_of(two, meanwhile, claim=claim(), **ended(DONE, "Complete", name="job-2"))
    assert second["model"]["revision"] == "v2"
    assert second["superseded"] == [{"revision": "v1", "path": model_path(one)}]
    assert status_of(two, second, claim=claim())["superseded"] == second["superseded"]
    assert "superseded" not in status_of(two, second, claim=claim(), removed=[model_path(one)])
    back = status_of(one, second, claim=claim())
    assert "superseded" not in back, "what is wanted again is not removed"


def test_half_a_copy_is_superseded_too() -> None:
    running = {"metadata": {"name": "job-1"}, "status": {"startTime": THEN}}
    first = status_of(spec(revision="v1"), claim=claim(), job=running)
    second = status_of(spec(revision="v2"), first, claim=claim(), **ended(DONE, "Complete", name="job-2"))
    assert [it["revision"] for it in second["superseded"]] == ["v1"]


def test_a_claim_of_others_is_left_alone() -> None:
    storage = {"existingClaim": {"name": "claim"}}
    one, two = spec(revision="v1", storage=storage), spec(revision="v2", storage=storage)
    first = status_of(one, claim=claim(), step=Step.CHECK, **ended(DONE, "Complete"))
    assert "superseded" not in status_of(
        two, first, claim=claim(), step=Step.CHECK, **ended(DONE, "Complete", name="j")
    )

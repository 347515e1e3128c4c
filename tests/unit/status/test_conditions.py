"""How conditions are summed up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, MAX_MESSAGE, Type
from qwen3_operator.api.reasons import Act, Reason
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.status.conditions import GRACE, Before, Conditions, Idle
from qwen3_operator.status.pods import Trouble

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DETAILS = DEPLOYMENT_TYPES[:5]
BECAUSE = dict(zip(DETAILS, (reason for reason in Reason if reason.needs_person), strict=False))
STATUS = st.sampled_from(["True", "False", "Unknown", None])


def as_status(conditions: Conditions) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in conditions.as_status({}, generation=1, now=NOW)}


def test_times_go_there_and_back() -> None:
    assert timestamp(NOW) == "2026-01-02T03:04:05Z"
    assert parse_time(timestamp(NOW)) == NOW and parse_time(None) is None and parse_time("") is None


def test_what_is_not_set_is_unknown() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    conditions.summarize(Reason.SERVING, "it answers")
    found = as_status(conditions)
    assert list(found) == [str(t) for t in DEPLOYMENT_TYPES]
    assert found["Available"]["status"] == "Unknown" and found["Available"]["reason"] == "Waiting"


@given(st.fixed_dictionaries(dict.fromkeys(DETAILS, STATUS)), st.sets(st.sampled_from(DETAILS)))
def test_the_summary_follows_from_the_rest(found: dict[Type, Any], stalled: set[Type]) -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    for kind, status in found.items():
        if status:
            conditions.set(kind, status, BECAUSE[kind], "m", stalled=kind in stalled and status == "False")
    conditions.summarize(Reason.SERVING, "it answers")
    written = as_status(conditions)
    status = {kind: condition["status"] for kind, condition in written.items()}
    # Fits is advice, unless it keeps the servers from being made.
    blocking = Type.FITS in stalled and found[Type.FITS] == "False"
    gates = [kind for kind in DETAILS if kind != Type.FITS]
    bad = [kind for kind in gates if found[kind] == "False"]
    if blocking:
        return
    assert (status["Ready"] == "True") == all(found[kind] == "True" for kind in gates)
    if bad:
        assert written["Ready"]["reason"] == BECAUSE[bad[0]], "the first that is wrong is what a person must read"
    assert (status["Stalled"] == "True") == any(found[kind] == "False" for kind in stalled)
    assert status["Reconciling"] == ("True" if status["Ready"] != "True" and status["Stalled"] != "True" else "False")
    assert "Unknown" not in (status["Ready"], status["Reconciling"], status["Stalled"])


def test_an_idle_one_is_neither_ready_nor_reconciling() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    idle = Idle(reason=Reason.SUSPENDED, message="m")
    conditions.summarize(Reason.SERVING, "it answers", idle=idle)
    found = as_status(conditions)
    assert [found[t]["status"] for t in ("Ready", "Reconciling", "Stalled")] == ["False", "False", "False"]
    assert found["Ready"]["reason"] == "Suspended"


def test_a_word_that_is_no_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="NoSuchReason"):
        Conditions(DEPLOYMENT_TYPES).set(Type.ACCEPTED, "False", "NoSuchReason")  # type: ignore[arg-type]


def test_a_long_message_is_cut_where_it_is_set() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    conditions.set(Type.ACCEPTED, "False", Reason.ADMISSION_DENIED, "x" * 40_000, stalled=True)
    conditions.summarize(Reason.SERVING, "it answers")
    assert {len(as_status(conditions)[kind]["message"]) for kind in ("Accepted", "Ready", "Stalled")} == {MAX_MESSAGE}


def missing(before: Mapping[str, Any], generation: int, seconds: float) -> dict[str, Any]:
    """The status after a Secret was not found, so many seconds after NOW."""
    now = NOW + timedelta(seconds=seconds)
    conditions = Conditions(DEPLOYMENT_TYPES, Before(before, generation, now))
    conditions.set(Type.ACCEPTED, "False", Reason.SECRET_NOT_FOUND, "Secret keys does not exist", stalled=True)
    conditions.summarize(Reason.SERVING, "")
    written = conditions.as_status(before, generation=generation, now=now)
    return {"observedGeneration": generation, "conditions": written}


def there(before: Mapping[str, Any], generation: int, seconds: float) -> dict[str, Any]:
    """The status when it is found."""
    now = NOW + timedelta(seconds=seconds)
    conditions = Conditions(DEPLOYMENT_TYPES, Before(before, generation, now))
    for kind in DETAILS:
        conditions.set(kind, "True", Reason.ACCEPTED)
    conditions.summarize(Reason.SERVING, "")
    written = conditions.as_status(before, generation=generation, now=now)
    return {"observedGeneration": generation, "conditions": written}


def stalled(status: Mapping[str, Any]) -> bool:
    found = {c["type"]: c["status"] for c in status["conditions"]}
    assert found["Ready"] == "False" and found["Reconciling"] != found["Stalled"]
    return bool(found["Stalled"] == "True")


def test_what_was_just_applied_may_refer_to_what_is_applied_next() -> None:
    first = missing({}, 1, 0.7)
    assert not stalled(first)
    accepted = first["conditions"][0]["message"]
    assert accepted.endswith("(it may still be on its way: waited for until 2026-01-02T03:04:15Z)")
    second = missing(first, 1, 5)
    assert second == first, "nothing is written while it is waited for"
    last = missing(second, 1, 10.7)
    assert stalled(last) and last["conditions"][0]["message"] == "Secret keys does not exist"
    assert missing(last, 1, 11) == last and stalled(missing(last, 1, 3600)), "there is no second grace"


def test_an_edit_of_what_ran_for_long_has_a_grace_of_its_own() -> None:
    running = there({}, 1, -3600)
    first = missing(running, 2, 0)
    assert not stalled(first) and not stalled(missing(first, 2, 9)) and stalled(missing(first, 2, 10))


def test_an_edit_of_what_is_stalled_has_a_grace_of_its_own() -> None:
    before = missing(missing({}, 1, -3600), 1, -3000)
    assert stalled(before)
    first = missing(before, 2, 0)
    assert not stalled(first) and not stalled(missing(first, 2, 9)) and stalled(missing(first, 2, 10))


def test_what_is_deleted_under_a_running_one_is_waited_for_as_well() -> None:
    running = there({}, 1, -3600)
    first = missing(running, 1, 0)
    assert not stalled(first) and stalled(missing(first, 1, GRACE[Act.PERSON_LATER].total_seconds()))


def test_an_autoscaler_has_time_to_see_a_pod_without_a_node() -> None:
    before: dict[str, Any] = there({}, 1, -3600)
    seen = []
    for seconds in (0, 29, 31):
        now = NOW + timedelta(seconds=seconds)
        conditions = Conditions(DEPLOYMENT_TYPES, Before(before, 1, now))
        conditions.set(Type.SCHEDULED, "False", Reason.NODE_SELECTOR_MISMATCH, "no node takes it", stalled=True)
        conditions.summarize(Reason.SERVING, "")
        written = conditions.as_status(before, generation=1, now=now)
        before = {"observedGeneration": 1, "conditions": written}
        seen.append(stalled(before))
    assert seen == [False, False, True]


def test_a_new_pod_has_its_time_where_one_before_waited_for_something_else() -> None:
    """A server waited for a free GPU for an hour; its spec is changed to a pool that is scaled from zero."""
    before: dict[str, Any] = {}
    seen = []
    for seconds, generation, trouble in (
        (-3600, 1, Trouble(Reason.INSUFFICIENT_GPU, "no GPU is free", NOW - timedelta(hours=1))),
        (0, 2, Trouble(Reason.INSUFFICIENT_GPU, "no GPU is free", NOW - timedelta(hours=1))),
        (2, 2, Trouble(Reason.NODE_SELECTOR_MISMATCH, "no node takes it", NOW + timedelta(seconds=2))),
        (31, 2, Trouble(Reason.NODE_SELECTOR_MISMATCH, "no node takes it", NOW + timedelta(seconds=2))),
        (32, 2, Trouble(Reason.NODE_SELECTOR_MISMATCH, "no node takes it", NOW + timedelta(seconds=2))),
    ):
        now = NOW + timedelta(seconds=seconds)
        conditions = Conditions(DEPLOYMENT_TYPES, Before(before, generation, now))
        conditions.set_trouble(Type.SCHEDULED, trouble)
        conditions.summarize(Reason.SERVING, "")
        written = conditions.as_status(before, generation=generation, now=now)
        before = {"observedGeneration": generation, "conditions": written}
        seen.append(stalled(before))
    assert seen == [False, False, False, False, True]


def test_other_faults_have_no_grace() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES, Before({}, 1, NOW))
    conditions.set(Type.ACCEPTED, "False", Reason.UNKNOWN_ARGUMENT, "m", stalled=True)
    conditions.summarize(Reason.SERVING, "")
    assert as_status(conditions)["Stalled"]["status"] == "True"


def test_what_is_kept_keeps_its_words_its_time_and_its_generation() -> None:
    before = there({}, 1, -3600)
    conditions = Conditions(DEPLOYMENT_TYPES, Before(before, 2, NOW))
    conditions.set(Type.ACCEPTED, "False", Reason.INVALID_SPEC, "m", stalled=True)
    conditions.keep((Type.SCHEDULED, Type.AVAILABLE))
    conditions.summarize(Reason.SERVING, "")
    found = {c["type"]: c for c in conditions.as_status(before, generation=2, now=NOW)}
    assert found["Available"] == next(c for c in before["conditions"] if c["type"] == "Available")
    assert (found["Ready"]["reason"], found["Ready"]["observedGeneration"]) == ("InvalidSpec", 2)

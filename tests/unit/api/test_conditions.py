"""Conditions: how a new list follows from an old one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, MAX_MESSAGE, MODEL_TYPES, Condition, carry_over, shorten

T0, T1 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
STATUSES = st.sampled_from(["True", "False", "Unknown"])


def condition(status: str = "True", reason: str = "Well", message: str = "") -> Condition:
    return Condition.model_validate({"type": "Ready", "status": status, "reason": reason, "message": message})


def test_the_first_time_everything_is_new() -> None:
    (written,) = carry_over([condition()], [], generation=3, now=T0)
    assert written == {
        "type": "Ready",
        "status": "True",
        "reason": "Well",
        "message": "",
        "lastTransitionTime": T0,
        "observedGeneration": 3,
    }


@given(before=STATUSES, after=STATUSES, reason=st.sampled_from(["A", "B"]), message=st.text(max_size=5))
def test_the_transition_time_moves_with_the_status_only(before: str, after: str, reason: str, message: str) -> None:
    old = carry_over([condition(before)], [], generation=1, now=T0)
    (new,) = carry_over([condition(after, reason, message)], old, generation=2, now=T1)
    assert new["lastTransitionTime"] == (T0 if before == after else T1)
    assert (new["reason"], new["observedGeneration"]) == (reason, 2)


def test_a_condition_that_lost_its_time_gets_one() -> None:
    (new,) = carry_over([condition()], [{"type": "Ready", "status": "True"}], generation=1, now=T1)
    assert new["lastTransitionTime"] == T1


@given(st.text(max_size=20), st.integers(1, 12))
def test_shortened_words_fit_and_say_that_they_were_cut(message: str, limit: int) -> None:
    short = shorten(message, limit)
    assert len(short) <= limit
    assert short == message or (short.endswith("…") and message.startswith(short[:-1]))


def test_a_long_message_is_cut_to_what_the_schema_takes() -> None:
    """A word of extraArgs, a webhook's denial or a pod's last words are longer than a message may be."""
    for length in (MAX_MESSAGE, MAX_MESSAGE + 1, 40_000):
        (new,) = carry_over([condition(message="x" * length)], [], generation=1, now=T0)
        assert len(new["message"]) == MAX_MESSAGE
    (new,) = carry_over([condition(message="x" * 40_000)], [], generation=1, now=T0)
    assert len(new["message"]) == MAX_MESSAGE and new["message"].endswith("…")


def test_a_condition_may_speak_of_another_generation() -> None:
    (new,) = carry_over([condition().model_copy(update={"observed_generation": 2})], [], generation=3, now=T0)
    assert new["observedGeneration"] == 2


def test_both_kinds_have_the_summary_last() -> None:
    for types in (DEPLOYMENT_TYPES, MODEL_TYPES):
        assert [str(t) for t in types[-3:]] == ["Ready", "Reconciling", "Stalled"]

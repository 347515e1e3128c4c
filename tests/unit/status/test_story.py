"""How a story of conditions is summed up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Condition, Type
from qwen3_operator.status.story import Story, parse_time, timestamp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DETAILS = DEPLOYMENT_TYPES[:5]
STATUS = st.sampled_from(["True", "False", "Unknown", None])


def written(story: Story) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in story.written({}, generation=1, now=NOW)}


def test_times_go_there_and_back() -> None:
    assert timestamp(NOW) == "2026-01-02T03:04:05Z"
    assert parse_time(timestamp(NOW)) == NOW and parse_time(None) is None and parse_time("") is None


def test_what_is_not_told_is_unknown() -> None:
    story = Story(DEPLOYMENT_TYPES)
    story.summarize("Serving", "it answers")
    told = written(story)
    assert list(told) == [str(t) for t in DEPLOYMENT_TYPES]
    assert told["Available"]["status"] == "Unknown" and told["Available"]["reason"] == "Waiting"


@given(st.fixed_dictionaries(dict.fromkeys(DETAILS, STATUS)), st.sets(st.sampled_from(DETAILS)))
def test_the_summary_fits_the_story(told: dict[Type, Any], stalled: set[Type]) -> None:
    story = Story(DEPLOYMENT_TYPES)
    for kind, status in told.items():
        if status:
            story.tell(kind, status, f"Because{kind}", "m", stalled=kind in stalled and status == "False")
    story.summarize("Serving", "it answers")
    conditions = written(story)
    status = {kind: condition["status"] for kind, condition in conditions.items()}
    # Fits is advice, unless it keeps the servers from being made.
    blocking = Type.FITS in stalled and told[Type.FITS] == "False"
    gates = [kind for kind in DETAILS if kind != Type.FITS]
    bad = [kind for kind in gates if told[kind] == "False"]
    if blocking:
        return
    assert (status["Ready"] == "True") == all(told[kind] == "True" for kind in gates)
    if bad:
        assert conditions["Ready"]["reason"] == f"Because{bad[0]}", "the first that is wrong is what a person must read"
    assert (status["Stalled"] == "True") == any(told[kind] == "False" for kind in stalled)
    assert status["Reconciling"] == ("True" if status["Ready"] != "True" and status["Stalled"] != "True" else "False")
    assert "Unknown" not in (status["Ready"], status["Reconciling"], status["Stalled"])


def test_an_idle_one_is_neither_ready_nor_reconciling() -> None:
    story = Story(DEPLOYMENT_TYPES)
    idle = Condition(type="-", status="False", reason="Suspended", message="m")
    story.summarize("Serving", "it answers", idle=idle)
    told = written(story)
    assert [told[t]["status"] for t in ("Ready", "Reconciling", "Stalled")] == ["False", "False", "False"]
    assert told["Ready"]["reason"] == "Suspended"

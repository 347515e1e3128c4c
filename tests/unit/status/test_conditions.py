"""How conditions are summed up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Type
from qwen3_operator.status.conditions import Conditions, Idle
from qwen3_operator.status.times import parse_time, timestamp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DETAILS = DEPLOYMENT_TYPES[:5]
STATUS = st.sampled_from(["True", "False", "Unknown", None])


def as_status(conditions: Conditions) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in conditions.as_status({}, generation=1, now=NOW)}


def test_times_go_there_and_back() -> None:
    assert timestamp(NOW) == "2026-01-02T03:04:05Z"
    assert parse_time(timestamp(NOW)) == NOW and parse_time(None) is None and parse_time("") is None


def test_what_is_not_set_is_unknown() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    conditions.summarize("Serving", "it answers")
    found = as_status(conditions)
    assert list(found) == [str(t) for t in DEPLOYMENT_TYPES]
    assert found["Available"]["status"] == "Unknown" and found["Available"]["reason"] == "Waiting"


@given(st.fixed_dictionaries(dict.fromkeys(DETAILS, STATUS)), st.sets(st.sampled_from(DETAILS)))
def test_the_summary_follows_from_the_rest(found: dict[Type, Any], stalled: set[Type]) -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    for kind, status in found.items():
        if status:
            conditions.set(kind, status, f"Because{kind}", "m", stalled=kind in stalled and status == "False")
    conditions.summarize("Serving", "it answers")
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
        assert written["Ready"]["reason"] == f"Because{bad[0]}", "the first that is wrong is what a person must read"
    assert (status["Stalled"] == "True") == any(found[kind] == "False" for kind in stalled)
    assert status["Reconciling"] == ("True" if status["Ready"] != "True" and status["Stalled"] != "True" else "False")
    assert "Unknown" not in (status["Ready"], status["Reconciling"], status["Stalled"])


def test_an_idle_one_is_neither_ready_nor_reconciling() -> None:
    conditions = Conditions(DEPLOYMENT_TYPES)
    idle = Idle(reason="Suspended", message="m")
    conditions.summarize("Serving", "it answers", idle=idle)
    found = as_status(conditions)
    assert [found[t]["status"] for t in ("Ready", "Reconciling", "Stalled")] == ["False", "False", "False"]
    assert found["Ready"]["reason"] == "Suspended"

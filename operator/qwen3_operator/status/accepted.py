"""The condition Accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen3_operator.api.conditions import Type
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.conditions import Conditions

SHOWN_ERRORS = 5
"""Fields of an unreadable spec that the message names."""


def set_accepted(
    conditions: Conditions, problems: Sequence[Problem], warnings: Sequence[Problem], running: str = ""
) -> None:
    """Set Accepted: the first problem in words, one that needs a person before others; or the warnings, or that all
    is well.

    `running`: what serves meanwhile."""
    if problems:
        first = min(problems, key=lambda problem: not problem.needs_person)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        meanwhile = f". {running}" if running else ""
        words = f"{in_words(first)}{more}{meanwhile}"
        conditions.set(Type.ACCEPTED, "False", first.reason, words, stalled=first.needs_person)
    elif warnings:
        words = "; ".join(dict.fromkeys(warning.message for warning in warnings))
        conditions.set(Type.ACCEPTED, "True", Reason.ACCEPTED_WITH_WARNINGS, words)
    else:
        conditions.set(Type.ACCEPTED, "True", Reason.ACCEPTED, Reason.ACCEPTED.meaning)


def in_words(problem: Problem) -> str:
    """A problem with the field that it is about."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def unreadable(errors: Sequence[Any]) -> Problem:
    """A spec that this operator cannot read, though the API server took it. `errors`: pydantic's."""
    shown = [f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors[:SHOWN_ERRORS]]
    more = f" and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
    hint = (
        "The installed CRDs are of another release than the operator, older or newer: install those of its own release,"
        " or the release of the operator that they came with"
    )
    return Problem(Reason.INVALID_SPEC, f"{'; '.join(shown)}{more}. {hint}")

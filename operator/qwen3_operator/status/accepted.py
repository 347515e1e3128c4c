"""The condition Accepted of those who ask for an engine."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_operator.api.conditions import Type
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.conditions import Conditions


def set_accepted(
    conditions: Conditions, problems: Sequence[Problem], warnings: Sequence[Problem], running: str = ""
) -> None:
    """Set Accepted: the first problem in words, or the warnings, or that all is well.

    `running`: what serves meanwhile."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        first = problems[0]
        where = f"{first.field}: " if first.field else ""
        meanwhile = f". {running}" if running else ""
        words = f"{where}{first.message}{more}{meanwhile}"
        conditions.set(Type.ACCEPTED, "False", first.reason, words, stalled=True)
    elif warnings:
        words = "; ".join(warning.message for warning in warnings)
        conditions.set(Type.ACCEPTED, "True", "AcceptedWithWarnings", words)
    else:
        conditions.set(Type.ACCEPTED, "True", "Accepted", "the spec makes sense for this model and engine")

"""Something in the spec that cannot work, or is doubtful, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qwen3_operator.api.reasons import Act, Reason


@dataclass(frozen=True)
class Problem:
    """Why a spec is refused, or what its author should know.

    ``message``: names the thing and the remedy. ``field``: path in the CR (``spec.engine.extraArgs[2]``), empty when no
    single field is to blame. A ``warning`` is only reported, an ``error`` stops. ``retried``: it passes, or the
    operator tries again by itself.
    """

    reason: Reason
    message: str
    field: str = ""
    severity: Literal["error", "warning"] = "error"
    retried: bool = False

    @property
    def needs_person(self) -> bool:
        """Whether nothing moves until a person acts."""
        return not self.retried and Reason.of(self.reason).act is not Act.ITSELF

"""Something in the spec that cannot work, or is doubtful, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """Why a spec is refused, or what its author should know.

    ``reason``: CamelCase, for a condition. ``message``: names the thing and the remedy. ``field``: path in the CR
    (``spec.engine.extraArgs[2]``), empty when no single field is to blame. A ``warning`` is told, an ``error`` stops.
    """

    reason: str
    message: str
    field: str = ""
    severity: Literal["error", "warning"] = "error"

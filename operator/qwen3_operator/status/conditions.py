"""The conditions of one object while they are being set, and their summary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qwen3_operator.api.conditions import Condition, Status, Type, carry_over
from qwen3_operator.status.times import timestamp


@dataclass(frozen=True)
class Idle:
    """Why nothing runs although nothing is wrong, like `spec.suspend`."""

    reason: str
    message: str


class Conditions:
    """Conditions of one object, in the order in which one waits for another; what is not set stays Unknown.

    `stalled` in a False condition means that nothing moves until a person acts.
    """

    def __init__(self, types: Iterable[Type]) -> None:
        self._types = tuple(types)
        self._set: dict[Type, Condition] = {}
        self._stalled: Condition | None = None

    def set(self, kind: Type, status: Status, reason: str, message: str = "", *, stalled: bool = False) -> None:
        """Set `kind`; set twice, the second holds."""
        condition = Condition(type=str(kind), status=status, reason=reason, message=message)
        self._set[kind] = condition
        if stalled and self._stalled is None:
            self._stalled = condition

    def holds(self, kind: Type) -> bool:
        """Whether `kind` was set to True."""
        return kind in self._set and self._set[kind].status == "True"

    def trouble(self, *, upto: Type) -> Condition | None:
        """The first condition before `upto` that is False, or else the first that is not known.

        Fits counts only where it keeps the servers from being made: otherwise it is advice.
        """
        before = [self._condition(kind) for kind in self._types[: self._types.index(upto)]]
        counting = [c for c in before if c.type != Type.FITS or c is self._stalled]
        first_false = next((c for c in counting if c.status == "False"), None)
        return first_false or next((c for c in counting if c.status == "Unknown"), None)

    def summarize(self, ready_reason: str, ready_message: str, *, idle: Idle | None = None) -> None:
        """Set Ready, Reconciling and Stalled from the rest. `idle`: not ready, and rightly so (suspended)."""
        trouble = self.trouble(upto=Type.READY)
        if idle is not None:
            self.set(Type.READY, "False", idle.reason, idle.message)
        elif trouble is None:
            self.set(Type.READY, "True", ready_reason, ready_message)
        else:
            self.set(Type.READY, "False", trouble.reason, trouble.message)
        ready = self._set[Type.READY]
        if self._stalled is not None:
            self.set(Type.STALLED, "True", self._stalled.reason, self._stalled.message)
        else:
            self.set(Type.STALLED, "False", "NotStalled")
        if ready.status == "True" or idle is not None or self._stalled is not None:
            self.set(Type.RECONCILING, "False", "Settled")
        else:
            self.set(Type.RECONCILING, "True", ready.reason, ready.message)

    def as_status(self, previous: dict[str, Any], *, generation: int, now: datetime) -> list[dict[str, Any]]:
        """`status.conditions`, those not set as Unknown."""
        all_of_them = [self._condition(kind) for kind in self._types]
        return carry_over(all_of_them, previous.get("conditions") or [], generation=generation, now=timestamp(now))

    def _condition(self, kind: Type) -> Condition:
        waiting = "waits for what comes before it"
        return self._set.get(kind) or Condition(type=str(kind), status="Unknown", reason="Waiting", message=waiting)

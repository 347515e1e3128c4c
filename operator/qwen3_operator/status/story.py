"""The conditions of one object while they are being told, and their summary."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from qwen3_operator.api.conditions import Condition, Status, Type, carry_over


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None) -> datetime | None:
    """The other way round; None for nothing."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


class Story:
    """Conditions in the order in which the story goes; what is not told stays Unknown.

    `stalled` in a False condition means that nothing moves until a person acts.
    """

    def __init__(self, types: Iterable[Type]) -> None:
        self._types = tuple(types)
        self._told: dict[Type, Condition] = {}
        self._stalled: Condition | None = None

    def tell(self, kind: Type, status: Status, reason: str, message: str = "", *, stalled: bool = False) -> None:
        """Say how `kind` stands. Said twice, the last word holds."""
        condition = Condition(type=str(kind), status=status, reason=reason, message=message)
        self._told[kind] = condition
        if stalled and self._stalled is None:
            self._stalled = condition

    def holds(self, kind: Type) -> bool:
        """Whether `kind` was told to be True."""
        return kind in self._told and self._told[kind].status == "True"

    def trouble(self, *, upto: Type) -> Condition | None:
        """The first condition before `upto` that is False, or else the first that is not known.

        Fits counts only where it keeps the servers from being made: otherwise it is advice.
        """
        before = [self._condition(kind) for kind in self._types[: self._types.index(upto)]]
        counting = [c for c in before if c.type != Type.FITS or c is self._stalled]
        first_false = next((c for c in counting if c.status == "False"), None)
        return first_false or next((c for c in counting if c.status == "Unknown"), None)

    def summarize(self, ready_reason: str, ready_message: str, *, idle: Condition | None = None) -> None:
        """Tell Ready, Reconciling and Stalled from the rest. `idle`: not ready, and rightly so (suspended)."""
        trouble = self.trouble(upto=Type.READY)
        if idle is not None:
            self.tell(Type.READY, "False", idle.reason, idle.message)
        elif trouble is None:
            self.tell(Type.READY, "True", ready_reason, ready_message)
        else:
            self.tell(Type.READY, "False", trouble.reason, trouble.message)
        ready = self._told[Type.READY]
        if self._stalled is not None:
            self.tell(Type.STALLED, "True", self._stalled.reason, self._stalled.message)
        else:
            self.tell(Type.STALLED, "False", "NotStalled")
        if ready.status == "True" or idle is not None or self._stalled is not None:
            self.tell(Type.RECONCILING, "False", "Settled")
        else:
            self.tell(Type.RECONCILING, "True", ready.reason, ready.message)

    def written(self, previous: dict[str, Any], *, generation: int, now: datetime) -> list[dict[str, Any]]:
        """The conditions as they go into the status, those not told as Unknown."""
        told = [self._condition(kind) for kind in self._types]
        return carry_over(told, previous.get("conditions") or [], generation=generation, now=timestamp(now))

    def _condition(self, kind: Type) -> Condition:
        waiting = "waits for what comes before it"
        return self._told.get(kind) or Condition(type=str(kind), status="Unknown", reason="Waiting", message=waiting)

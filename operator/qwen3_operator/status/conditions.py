"""The conditions of one object while they are being set, and their summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.conditions import Condition, Status, Type, carry_over
from qwen3_operator.api.reasons import Act, Reason
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.status.pods import Trouble

GRACE = {Act.PERSON_LATER: timedelta(seconds=10), Act.PERSON_WITHOUT_NODE: timedelta(seconds=30)}
"""How long something may be missing before a person must act: what a new spec refers to may be applied a moment later,
and an autoscaler, which looks for pods without a node every 10 s or so, may add one."""


@dataclass(frozen=True)
class Idle:
    """Why nothing runs although nothing is wrong, like `spec.suspend`."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Before:
    """What the status said before, of which generation the new one speaks, and when it is made."""

    status: Mapping[str, Any]
    generation: int
    now: datetime

    def condition(self, kind: Type) -> Mapping[str, Any]:
        """A condition as it was; empty where there was none."""
        return next((c for c in self.status.get("conditions") or [] if c.get("type") == kind), {})

    def missing_until(self, kind: Type, grace: timedelta, since: datetime | None) -> datetime | None:
        """The end of the `grace` for something that `kind` finds missing now; None where it is over.

        It begins when a new generation is seen first, or when `kind` became False, and not before what is missing is
        missed, where that is known (`since`): `kind` may be False for something else. It is not given a second time
        to an object that is stalled already.
        """
        now = self.now.replace(microsecond=0)
        began = now
        if self.status.get("observedGeneration") == self.generation:
            stalled, was = self.condition(Type.STALLED), self.condition(kind)
            if stalled.get("status") == "True":
                return None
            changes = [stalled, was] if was.get("status") == "False" else []
            moments = [moment for c in changes if (moment := parse_time(c.get("lastTransitionTime")))]
            if since is not None and moments:
                moments.append(min(since, now))
            began = max(moments, default=now)
        return began + grace if self.now < began + grace else None


class Conditions:
    """Conditions of one object, in the order in which one waits for another; what is not set stays Unknown.

    `stalled` in a False condition means that nothing moves until a person acts.
    """

    def __init__(self, types: Iterable[Type], before: Before | None = None) -> None:
        self._types = tuple(types)
        self._before = before
        self._set: dict[Type, Condition] = {}
        self._stalled: Condition | None = None

    def set_trouble(self, kind: Type, trouble: Trouble) -> None:
        """Set `kind` to what is wrong with pods."""
        self.set(kind, "False", trouble.reason, trouble.message, stalled=trouble.needs_a_person, since=trouble.since)

    def set(
        self,
        kind: Type,
        status: Status,
        reason: Reason,
        message: str = "",
        *,
        stalled: bool = False,
        since: datetime | None = None,
    ) -> None:
        """Set `kind`; set twice, the second holds. Raises ValueError for a word that is no Reason.

        What may still be on its way is not stalled yet; the message says until when that is hoped. `since`: when it
        began at the earliest, where that is known.
        """
        reason = Reason.of(reason)
        # A Qwen3Model has had its own grace.
        if stalled and reason.act in GRACE and self._before and kind != Type.MODEL_READY:
            until = self._before.missing_until(kind, GRACE[reason.act], since)
            stalled = until is None
            message += f" (it may still be on its way: waited for until {timestamp(until)})" if until else ""
        condition = Condition(type=str(kind), status=status, reason=reason, message=message)
        self._set[kind] = condition
        if stalled and self._stalled is None:
            self._stalled = condition

    def keep(self, kinds: Iterable[Type]) -> None:
        """Leave `kinds` as they were before, and of the generation that they spoke of."""
        for kind in kinds:
            if self._before and (was := self._before.condition(kind)):
                self._set[kind] = Condition.model_validate(was)

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

    def summarize(self, ready_reason: Reason, ready_message: str, *, idle: Idle | None = None) -> None:
        """Set Ready, Reconciling and Stalled from the rest. `idle`: not ready, and rightly so (suspended)."""
        trouble = self.trouble(upto=Type.READY)
        if idle is not None:
            self.set(Type.READY, "False", idle.reason, idle.message)
        elif trouble is None:
            self.set(Type.READY, "True", ready_reason, ready_message)
        else:
            self.set(Type.READY, "False", Reason.of(trouble.reason), trouble.message)
        ready, stalled = self._set[Type.READY], self._stalled
        if stalled is not None:
            self.set(Type.STALLED, "True", Reason.of(stalled.reason), stalled.message)
        else:
            self.set(Type.STALLED, "False", Reason.NOT_STALLED)
        if ready.status == "True" or idle is not None or stalled is not None:
            self.set(Type.RECONCILING, "False", Reason.SETTLED)
        else:
            self.set(Type.RECONCILING, "True", Reason.of(ready.reason), ready.message)

    def as_status(self, previous: Mapping[str, Any], *, generation: int, now: datetime) -> list[dict[str, Any]]:
        """`status.conditions`, those not set as Unknown."""
        all_of_them = [self._condition(kind) for kind in self._types]
        return carry_over(all_of_them, previous.get("conditions") or [], generation=generation, now=timestamp(now))

    def _condition(self, kind: Type) -> Condition:
        return self._set.get(kind) or Condition(
            type=str(kind), status="Unknown", reason=Reason.WAITING, message=Reason.WAITING.meaning
        )

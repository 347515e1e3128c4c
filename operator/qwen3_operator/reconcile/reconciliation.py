"""What reconciling an object of any of our kinds begins with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile import object_metrics
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.key import Key


def observed(context: Context, kind: Kind, key: Key) -> Object | None:
    """The object as it was seen last; None where it is gone or going: then nothing is applied any more."""
    obj = context.store.get(kind, key.namespace, key.name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        object_metrics.forget(key)
        context.users.forget(key)
        context.adapters_heard.forget(key)
        context.results_heard.forget(key)
        context.replica_sets.forget(key)
        context.rehearsals.forget(key)
        return None
    return obj


def undecodable(obj: Object) -> Problem | None:
    """A problem where the object is more deeply nested, or otherwise stranger, than anything that makes sense."""
    if UNDECODABLE not in obj:
        return None
    words = f"the object cannot be read: {obj[UNDECODABLE]}. Take out what is nested so deeply"
    return Problem(Reason.INVALID_SPEC, words)


async def together(*steps: Awaitable[None]) -> None:
    """Await all of `steps`, and raise the first failure when none runs any more: what one meets does not keep the
    others from their work, and nothing goes on behind a reconcile that has ended."""
    for failure in await asyncio.gather(*steps, return_exceptions=True):
        if failure is not None:
            raise failure


@dataclass
class Reconciliation:
    """Reconciling `obj` once; the kinds add what they observe."""

    context: Context
    obj: Object
    problems: list[Problem] = field(default_factory=list)

    @property
    def _namespace(self) -> str:
        return str(self.obj["metadata"]["namespace"])

    @property
    def _name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def _uid(self) -> str:
        return str(self.obj["metadata"]["uid"])

    @property
    def _status(self) -> Object:
        return self.obj.get("status") or {}

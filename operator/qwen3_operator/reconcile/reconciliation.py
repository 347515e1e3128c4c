"""What a look at an object of any of our kinds begins with."""

from __future__ import annotations

from dataclasses import dataclass

from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.key import Key


async def read_live(context: Context, kind: Kind, key: Key) -> Object | None:
    """The object as it is now; None where it is gone or going: then nothing is applied any more."""
    obj = await context.cluster.get(kind, key.namespace, key.name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        metrics.forget_conditions(*key)
        context.users.forget(key)
        return None
    return obj


@dataclass
class Reconciliation:
    """One look at `obj`; the kinds add what they see."""

    context: Context
    obj: Object

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

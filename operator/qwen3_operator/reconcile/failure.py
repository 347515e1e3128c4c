"""A failure that lasts is shown in the status of its object."""

from __future__ import annotations

import asyncio
import logging

from qwen3_operator.api.conditions import Condition, Type, carry_over, shorten
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.key import Key

log = logging.getLogger(__name__)

REPORT_SECONDS = 20.0
"""An API server that does not answer must not hold the worker longer."""


async def report_failure(context: Context, kind: Kind, key: Key, error: BaseException) -> None:
    """Set Ready and Reconciling of the object to what went wrong; the rest of its status stays.

    Raises nothing: what made the reconcile fail (an object that cannot be read, an API server that is away) may well
    be in the way here, too.
    """
    try:
        async with asyncio.timeout(REPORT_SECONDS):
            obj = context.store.get(kind, key.namespace, key.name)
            if obj is None or obj["metadata"].get("deletionTimestamp"):
                return
            status = obj.get("status") or {}
            generation, before = obj["metadata"]["generation"], status.get("conditions") or []
            new = carry_over(_conditions(error), before, generation=generation, now=timestamp(context.now()))
            others = [c for c in before if c["type"] not in {c["type"] for c in new}]
            await context.write_status(kind, obj, status | {"conditions": others + new})
    except Exception as another:
        log.warning(
            "%s %s/%s: the failure could not be reported: %s: %s",
            *(key.kind, key.namespace, key.name),
            *(type(another).__name__, another),
        )


def _conditions(error: BaseException) -> list[Condition]:
    message = shorten(f"reconciling this object failed, it is tried again: {str(error) or type(error).__name__}")
    return [
        Condition(type=str(Type.READY), status="False", reason=Reason.RECONCILE_FAILED, message=message),
        Condition(type=str(Type.RECONCILING), status="True", reason=Reason.RECONCILE_FAILED, message=message),
    ]

"""A failure that lasts, told where the user looks."""

from __future__ import annotations

import logging

from qwen3_operator.api.conditions import Condition, Type, carry_over
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.reconcile.context import STATUS_MANAGER, Context
from qwen3_operator.reconcile.key import Key
from qwen3_operator.status.times import timestamp

log = logging.getLogger(__name__)

LASTING_FAILURES = 4
"""Failures in a row after which a person is told: some 3 s of back-off."""


async def report_failure(context: Context, kind: Kind, key: Key, error: Exception) -> None:
    """Set Ready and Reconciling of the object to what went wrong; the rest of its status stays."""
    try:
        obj = await context.cluster.get(kind, key.namespace, key.name)
        if obj is None:
            return
        status = obj.get("status") or {}
        reason = error.reason if isinstance(error, ApiError) else type(error).__name__
        words = f"the last {LASTING_FAILURES} looks at this object failed, it is tried again: {error}"
        told = [
            Condition(type=str(Type.READY), status="False", reason="ReconcileFailed", message=words),
            Condition(type=str(Type.RECONCILING), status="True", reason=reason or "ReconcileFailed", message=words),
        ]
        generation = obj["metadata"]["generation"]
        new = carry_over(told, status.get("conditions") or [], generation=generation, now=timestamp(context.now()))
        others = [c for c in status.get("conditions") or [] if c["type"] not in {c["type"] for c in new}]
        await context.cluster.apply(
            kind,
            {
                "metadata": {"namespace": key.namespace, "name": key.name},
                "status": status | {"conditions": others + new},
            },
            manager=STATUS_MANAGER,
            subresource="status",
        )
    except ApiError as another:
        log.warning("%s %s/%s: the failure could not be told: %s", key.kind, key.namespace, key.name, another)

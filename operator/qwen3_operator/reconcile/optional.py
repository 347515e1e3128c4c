"""Children that a spec may ask for and that the servers do not depend on: what is wrong with one is a warning."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.ownership import is_controlled_by
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.context import Context, refused


async def remove_own(context: Context, kind: Kind, owner: Object, field: str) -> list[Problem]:
    """Have no child of `kind` with the owner's name that is its own, for nobody asks for one. Returns warnings."""
    if kind not in context.store.kinds:
        return []  # the API server does not serve it, or the operator was not configured to have any
    meta = owner["metadata"]
    live = context.store.get(kind, meta["namespace"], meta["name"])
    if live is None or not is_controlled_by(live, meta["uid"]) or live["metadata"].get("deletionTimestamp"):
        return []
    for tries_left in (1, 0):
        try:
            await context.delete(kind, live)
            break
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT or not tries_left:  # it is changed at any moment, as by KEDA
                return [warning(kind, meta["name"], error, field)]
    return []


def warning(kind: Kind, name: str, error: ApiError, field: str) -> Problem:
    """A child that cannot be had, or not be let go: it is tried again, and the servers do not wait for it."""
    try:
        found = refused(kind, name, error)
    except ApiError:
        words = f"the {kind.kind} {name} is not as it has to be: {error}. It is tried again"
        found = Problem(Reason.RECONCILE_FAILED, words)
    return replace(found, severity="warning", field=field, retried=True)

"""The InferencePool of a Qwen3Deployment. The route to the servers does not depend on it: without it the route leads to
the Service."""

from __future__ import annotations

from dataclasses import dataclass

from qwen3_operator.api.gateway import EndpointPicker
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import INFERENCE_POOLS
from qwen3_operator.desired.inference_pool import inference_pool
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.optional import remove_own, warning

FIELD = "spec.service.gateway.endpointPicker"


@dataclass(frozen=True)
class Pool:
    """What became of the pool that a spec asks for."""

    live: Object | None = None
    warning: Problem | None = None
    """Why there is none, or not the one that is asked for."""


async def ensure_pool(context: Context, owner: Object, picker: EndpointPicker) -> Pool:
    """Have the pool that `spec.service.gateway.endpointPicker` asks for."""
    if not context.settings.endpoint_picker:
        return Pool(warning=_without(Reason.ENDPOINT_PICKER_NOT_ENABLED))
    if INFERENCE_POOLS not in context.store.kinds:
        return Pool(warning=_without(Reason.INFERENCE_EXTENSION_MISSING))
    meta = owner["metadata"]
    wanted = inference_pool(meta["namespace"], meta["name"], meta["uid"], picker)
    try:
        return Pool(await context.ensure(INFERENCE_POOLS, wanted))
    except ApiError as error:
        if error.status == 404:  # the CRD went at this very moment
            return Pool(warning=_without(Reason.INFERENCE_EXTENSION_MISSING))
        # The one that is there is as good as it was.
        live = context.own(INFERENCE_POOLS, meta["namespace"], meta["name"], meta["uid"])
        return Pool(live, warning(INFERENCE_POOLS, meta["name"], error, FIELD))


async def remove_pool(context: Context, owner: Object) -> list[Problem]:
    """Have no pool, for nobody asks for one and no route leads to it. Returns warnings."""
    if not (context.settings.gateway and context.settings.endpoint_picker):
        return []
    return await remove_own(context, INFERENCE_POOLS, owner, FIELD)


def _without(reason: Reason) -> Problem:
    return Problem(reason, f"{FIELD}: {reason.meaning}. To do: {reason.remedy}", FIELD, severity="warning")

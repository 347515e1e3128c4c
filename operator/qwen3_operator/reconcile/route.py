"""The HTTPRoute of a Qwen3Deployment. The servers do not depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import HTTP_ROUTES
from qwen3_operator.desired.route import http_route
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.inference_pool import Pool, ensure_pool, remove_pool
from qwen3_operator.reconcile.optional import remove_own, warning

FIELD = "spec.service.gateway"


@dataclass(frozen=True)
class Route:
    """What became of the route that a spec asks for."""

    live: Object | None = None
    problem: Problem | None = None
    """Why there is none, or one that says something else."""
    pool: Object | None = None
    """The InferencePool of which an endpoint picker chooses; None: the route leads to the Service."""
    warnings: Sequence[Problem] = ()


async def ensure_route(context: Context, owner: Object, spec: Qwen3DeploymentSpec) -> Route:
    """Have the route that `spec.service.gateway` asks for, and the pool that it leads to where there is a picker: the
    pool comes before the route leads to it, and goes after that."""
    assert spec.service.gateway is not None
    if not context.settings.gateway:
        words = f"the operator makes no routes. To do: {Reason.GATEWAY_NOT_ENABLED.remedy}"
        return Route(problem=Problem(Reason.GATEWAY_NOT_ENABLED, words, FIELD))
    meta = owner["metadata"]
    picker = spec.service.gateway.endpoint_picker
    pool = await ensure_pool(context, owner, picker) if picker else Pool()
    warnings = [pool.warning] if pool.warning else []
    if HTTP_ROUTES not in context.store.kinds:
        return Route(problem=_missing(), warnings=warnings)
    wanted = http_route(
        meta["namespace"],
        meta["name"],
        meta["uid"],
        spec.service.port,
        spec.service.gateway,
        picked=pool.live is not None,
    )
    try:
        live = await context.ensure(HTTP_ROUTES, wanted)
        warnings += [] if picker else await remove_pool(context, owner)
        return Route(live, pool=pool.live, warnings=warnings)
    except ApiError as error:
        gone = error.status == 404  # the CRD, at this very moment
        problem = _missing() if gone else warning(HTTP_ROUTES, meta["name"], error, FIELD)
        return Route(problem=problem, warnings=warnings)


async def remove_route(context: Context, owner: Object) -> list[Problem]:
    """Have no route, for nobody asks for one, and no pool that it may have led to. Returns warnings."""
    if not context.settings.gateway:
        return []
    return await remove_own(context, HTTP_ROUTES, owner, FIELD) or await remove_pool(context, owner)


def _missing() -> Problem:
    words = f"the API server serves no {HTTP_ROUTES.kind} of {HTTP_ROUTES.api_version}, or cannot list any."
    words += f" To do: {Reason.GATEWAY_API_MISSING.remedy}"
    return Problem(Reason.GATEWAY_API_MISSING, words, FIELD)

"""The HTTPRoute of a Qwen3Deployment. The servers do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import HTTP_ROUTES
from qwen3_operator.desired.route import http_route
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.optional import remove_own

FIELD = "spec.service.gateway"


@dataclass(frozen=True)
class Route:
    """What became of the route that a spec asks for."""

    live: Object | None = None
    problem: Problem | None = None
    """Why there is none, or one that says something else."""
    unwatched: bool = False
    """Whether no watch brings news of it."""


async def ensure_route(context: Context, owner: Object, spec: Qwen3DeploymentSpec) -> Route:
    """Have the route that `spec.service.gateway` asks for."""
    assert spec.service.gateway is not None
    if not context.settings.gateway:
        words = f"the operator makes no routes. To do: {Reason.GATEWAY_NOT_ENABLED.remedy}"
        return Route(problem=Problem(Reason.GATEWAY_NOT_ENABLED, words, FIELD))
    meta = owner["metadata"]
    unwatched = HTTP_ROUTES not in context.store.kinds
    wanted = http_route(meta["namespace"], meta["name"], meta["uid"], spec.service.port, spec.service.gateway)
    try:
        return Route(await context.ensure(HTTP_ROUTES, wanted), unwatched=unwatched)
    except ApiError as error:
        if error.status == 404 and not await context.cluster.serves(HTTP_ROUTES):
            words = f"the API server serves no {HTTP_ROUTES.kind} of {HTTP_ROUTES.api_version}."
            words += f" To do: {Reason.GATEWAY_API_MISSING.remedy}"
            return Route(problem=Problem(Reason.GATEWAY_API_MISSING, words, FIELD), unwatched=True)
        problem = replace(refused(HTTP_ROUTES, meta["name"], error), field=FIELD)
        return Route(problem=problem, unwatched=unwatched)


async def remove_route(context: Context, owner: Object) -> list[Problem]:
    """Have no route, for nobody asks for one. Returns warnings."""
    return await remove_own(context, HTTP_ROUTES, owner, FIELD) if context.settings.gateway else []

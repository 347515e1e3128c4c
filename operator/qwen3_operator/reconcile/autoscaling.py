"""The ScaledObject of a Qwen3Deployment, and whose the number of its servers is.

The operator sets the number until the first servers are ready. Then it gives it away, and only then
makes the ScaledObject by which KEDA scales; it takes it back where the autoscaling ends, after the ScaledObject went.
"""

from __future__ import annotations

from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import SCALED_OBJECTS
from qwen3_operator.desired.autoscaling import scaled_object
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan import Plan
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.optional import remove_own, warning

FIELD = "spec.autoscaling"


def autoscales(spec: Qwen3DeploymentSpec) -> bool:
    """Whether a spec has the load decide now."""
    return spec.autoscaling is not None and not spec.suspend


def missing_autoscaler(context: Context) -> Problem | None:
    """Why nothing can scale servers here, where nothing can."""
    if not context.settings.prometheus_address:
        words = "the operator was not told of KEDA (autoscaling.enabled of its chart): the number of servers stays"
    elif SCALED_OBJECTS in context.store.kinds:
        return None
    else:
        words = "the API server does not know KEDA's ScaledObjects: install KEDA. The number of servers stays"
    return Problem(Reason.AUTOSCALER_MISSING, words, FIELD, severity="warning")


async def remove_autoscaler(context: Context, owner: Object) -> list[Problem]:
    """Have no ScaledObject: before the number of servers is the operator's again. Returns warnings: what cannot be
    deleted does not keep servers from being stopped."""
    return await remove_own(context, SCALED_OBJECTS, owner, FIELD)


async def ensure_autoscaler(
    context: Context, owner: Object, spec: Qwen3DeploymentSpec, server: Object, plan: Plan
) -> tuple[Object | None, list[Problem]]:
    """Have the ScaledObject for servers of `plan`; returns it, and warnings. `server`: the Deployment."""
    meta, settings = owner["metadata"], context.settings
    assert spec.autoscaling is not None
    wanted = scaled_object(
        meta["namespace"],
        meta["name"],
        meta["uid"],
        spec.autoscaling,
        prometheus=settings.prometheus_address,
        command=plan.command,
        front=settings.front_service,
    )
    try:
        live = await context.ensure(SCALED_OBJECTS, wanted)
    except ApiError as error:
        if error.status == 404:  # its CRD went
            words = "the API server does not know KEDA's ScaledObjects any more: the number of servers stays"
            return None, [Problem(Reason.AUTOSCALER_MISSING, words, FIELD, severity="warning")]
        return None, [warning(SCALED_OBJECTS, meta["name"], error, FIELD)]
    ready = condition_of(live, "Ready")
    failing = ready.get("status") == "False" or ready.get("reason") == "PartialTriggerError"
    # While no server is ready there is no metric to be seen either.
    if failing and (server.get("status") or {}).get("readyReplicas"):
        words = f"KEDA does not see the load, and lets no server go: {ready.get('message') or ready.get('reason')}"
        words += f" (kubectl describe scaledobject {meta['name']})"
        return live, [Problem(Reason.AUTOSCALER_FAILING, words, FIELD, severity="warning")]
    return live, []

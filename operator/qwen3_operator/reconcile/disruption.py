"""The PodDisruptionBudget of a Qwen3Deployment. It is never in the way of the servers."""

from __future__ import annotations

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import DISRUPTION_BUDGETS
from qwen3_operator.desired.disruption import disruption_budget, selects_servers, wants_budget
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import server_labels
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.optional import remove_own, warning

FIELD = "spec.disruptionBudget"

MOST_BUDGETS = 500
"""PodDisruptionBudgets of a namespace that are read to find one that selects the servers."""


async def ensure_budget(
    context: Context, owner: Object, spec: Qwen3DeploymentSpec, server: Object | None
) -> list[Problem]:
    """Have the budget while it is wanted, and not when not. `server`: the Deployment. Returns warnings."""
    meta = owner["metadata"]
    namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
    try:
        if wants_budget(spec) and not await _others_select(context, namespace, name, server):
            await context.ensure(DISRUPTION_BUDGETS, disruption_budget(namespace, name, uid))
            return []
    except ApiError as error:
        return [warning(DISRUPTION_BUDGETS, name, error, FIELD)]
    return await remove_own(context, DISRUPTION_BUDGETS, owner, FIELD)


async def _others_select(context: Context, namespace: str, name: str, server: Object | None) -> bool:
    """Whether somebody else's budget covers the servers: a pod that two cover cannot be evicted at all. Pods have the
    labels of podTemplatePatch too."""
    found = await context.cluster.list(DISRUPTION_BUDGETS, namespace, limit=MOST_BUDGETS)
    template = server["spec"]["template"] if server is not None else {}
    labels = server_labels(name) | ((template.get("metadata") or {}).get("labels") or {})
    return any(selects_servers(budget, labels) for budget in found if budget["metadata"]["name"] != name)

"""Servers that wait: news of them comes by the watch, and so they are reconciled less and less often."""

from __future__ import annotations

from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.deployment import reconcile_deployment


async def test_a_server_without_a_node_is_reconciled_less_and_less_often() -> None:
    """Of thousands that nobody has a GPU for, each every ten seconds kept a whole core busy."""
    world = Served()
    await world.served()
    world.server_is_ready()
    pod = world.changed(PODS, f"{SERVED}-1-a")
    pod["spec"].pop("nodeName", None)
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    pod["status"] = {"phase": "Pending", "conditions": [unschedulable]}
    world.changed(DEPLOYMENTS, SERVED)["status"] |= {"readyReplicas": 0}
    world.cluster.show(world.operator._store)
    again = await reconcile_deployment(world.operator._context, Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Scheduled"][0] == "False"
    assert isinstance(again, Requeue) and again.trouble and again.after <= 10

"""The PodDisruptionBudget of the servers, beside those of others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.kinds import DISRUPTION_BUDGETS


@pytest.mark.parametrize(("labels", "left"), [({"app": "chat-servers"}, ["theirs"]), ({}, [SERVED, "theirs"])])
async def test_one_that_selects_by_a_label_of_the_patch_is_heeded(labels: dict[str, Any], left: list[str]) -> None:
    world = Served()
    selector = {"matchLabels": {"app": "chat-servers"}}
    meta = {"namespace": NAMESPACE, "name": "theirs"}
    world.cluster.put(DISRUPTION_BUDGETS, {"metadata": meta, "spec": {"maxUnavailable": 1, "selector": selector}})
    await world.served(replicas=2, podTemplatePatch=json.dumps({"metadata": {"labels": labels}}))
    budgets = [it["metadata"]["name"] for it in world.cluster.of(DISRUPTION_BUDGETS)]
    assert sorted(budgets) == left, "a pod that two cover is never evicted"

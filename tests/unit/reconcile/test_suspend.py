"""Servers stop when they are to stop, whatever else is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from tests.monitoring.operator_at_work import SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.kinds import DEPLOYMENTS, SERVICES
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a patch that is none": ({"podTemplatePatch": "metadata: {labels: [a]}"}, "InvalidPatch"),
    "a patch of another shape": (
        {"podTemplatePatch": "spec: {containers: [{name: vllm, envFrom: [{secretRef: oops}]}]}"},
        "InvalidPatch",
    ),
    "a plan": ({"engine": {"tensorParallelSize": 3}}, "IllegalParallelism"),
    "an argument": ({"engine": {"hfOverrides": '{"a": "\\ud800"}'}}, "WrongArgumentValue"),
    "a secret": ({"auth": {"apiKeySecretRef": {"name": "none", "key": "k"}}}, "SecretNotFound"),
}


@pytest.mark.parametrize("stop", [{"suspend": True}, {"replicas": 0}])
@pytest.mark.parametrize("what", WRONG)
async def test_a_spec_that_is_refused(what: str, stop: dict[str, Any]) -> None:
    world = Served(read_secrets=True)
    await world.served()
    spec, reason = WRONG[what]
    await world.change(**spec)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][1] == reason
    assert world.server["spec"]["replicas"] == 1, "what runs goes on"
    await world.change(**stop)
    assert world.server["spec"]["replicas"] == 0


async def test_a_model_that_makes_no_sense() -> None:
    world = Served()
    await world.served()
    model = world.changed(QWEN3_MODELS, world.model_of(SERVED))
    model["status"]["model"]["config"] = {"model_type": "qwen3", "num_hidden_layers": "many"}
    await world.change(suspend=True)
    assert world.server["spec"]["replicas"] == 0


async def test_a_service_of_somebody_else() -> None:
    world = Served()
    await world.served()
    service = world.changed(SERVICES, SERVED)
    world.operator._store.remove(SERVICES, service["metadata"])
    service["metadata"] |= {"ownerReferences": [], "labels": {}, "uid": "theirs"}
    await world.change(suspend=True)
    assert world.cluster.of(DEPLOYMENTS)[0]["spec"]["replicas"] == 0

"""Another release of the operator, with another answer to everything, restarts nothing; what has no effect says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.kinds import CLAIMS
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.plan import Plan, make_plan
from qwen3_operator.reconcile import plans

Other = Callable[[Plan], Plan]


def other_parser(plan: Plan) -> Plan:
    words = ["qwen3_next" if word == "hermes" else word for word in plan.command]
    values = [replace(it, value="qwen3_next") if it.value == "hermes" else it for it in plan.values]
    return replace(plan, command=tuple(words), values=tuple(values))


def other_catalogue(plan: Plan) -> Plan:
    words = (*plan.command, "--generation-config", "vllm")
    return replace(plan, command=words, max_model_len=plan.max_model_len // 2, cpu="9", memory="99Gi", shm_size="9Gi")


def other_start(plan: Plan) -> Plan:
    return replace(plan, startup_seconds=plan.startup_seconds * 3, drain_seconds=plan.drain_seconds + 60)


def other_middleware(plan: Plan) -> Plan:
    return replace(plan, server=json.dumps({**json.loads(plan.server), "new": 1}), pod_annotations={"a": "b"})


def refusing(plan: Plan) -> Plan:
    return replace(plan, problems=(Problem(Reason.ENGINE_VERSION_TOO_OLD, "not any more", "spec.engine.version"),))


def template(world: Served) -> dict[str, Any]:
    found: dict[str, Any] = world.server["spec"]["template"]
    return found


@pytest.mark.parametrize("other", [other_parser, other_catalogue, other_start, other_middleware, refusing])
async def test_another_release_restarts_nothing_until_it_is_asked(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Served()
    await world.served()
    before, spec = template(world), world.server["spec"]
    monkeypatch.setattr(plans, "make_plan", lambda *words, **more: other(make_plan(*words, **more)))
    world.start()
    writes = len(world.cluster.writes)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    written = {write[1] for write in world.cluster.writes[writes:]}
    assert world.server["spec"] == spec and written <= {"Qwen3Deployment/status"}
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Ready"][0] == "True"
    await world.change(replicas=2)
    assert template(world) == before and world.server["spec"]["replicas"] == 2
    await world.ready()
    if other is not refusing:
        await world.change(engine={"resolve": "now"})
        assert template(world) != before, "asked for, it takes what would be chosen now"


async def test_the_status_says_what_would_be_chosen_now(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Served()
    await world.served()
    monkeypatch.setattr(plans, "make_plan", lambda *words, **more: other_parser(make_plan(*words, **more)))
    world.start()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    plan = world.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]["plan"]
    assert [(it["value"], it["next"]) for it in plan if "next" in it] == [("hermes", "qwen3_next")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"storageClassName": "slow"}, "storageClassName is slow, but claim chat-compile-cache has fast"),
        ({"accessMode": "ReadWriteMany"}, "accessMode is ReadWriteMany, but claim chat-compile-cache has"),
        ({"size": "5Gi"}, "size is 5Gi, but claim chat-compile-cache has 10Gi"),
    ],
)
async def test_a_compile_cache_that_cannot_follow_is_a_warning_and_no_restart(
    change: dict[str, str], words: str
) -> None:
    world, cache = Served(), {"enabled": True, "size": "10Gi", "storageClassName": "fast"}
    await world.served(engine={"compileCache": cache})
    before = template(world)
    (claim,) = [it for it in world.cluster.of(CLAIMS) if it["metadata"]["name"] == "chat-compile-cache"]
    fields = dict(claim["spec"])
    await world.change(engine={"compileCache": cache | change})
    status = world.status(QWEN3_DEPLOYMENTS, SERVED)
    assert status["Accepted"][:2] == ("True", "AcceptedWithWarnings") and words in status["Accepted"][2]
    assert status["Ready"][0] == "True" and status["Stalled"][0] == "False"
    assert template(world) == before and claim["spec"] == fields, "what the API server would refuse is not asked for"

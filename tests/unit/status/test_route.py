"""The condition Routed: what a Gateway says of the route."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Type
from qwen3_operator.api.gateway import Gateway
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.route import gateway_endpoint
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.conditions import Conditions
from qwen3_operator.status.route import set_routed

BY_PATH = {"hostnames": ["llm.example", "other.example"], "pathPrefix": "/qwen3-8b"}
BY_HEADER = {"hostnames": ["llm.example"], "header": {"name": "x-model", "value": "qwen3-8b"}}


def gateway(**fields: Any) -> Gateway:
    return Gateway.model_validate({"parentRef": {"name": "public", "namespace": "edge"}} | fields)


def said(kind: str, status: str = "True", reason: str = "", message: str = "", generation: int = 2) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason or kind,
        "message": message,
        "observedGeneration": generation,
    }


def parent(*conditions: dict[str, Any], **reference: str) -> dict[str, Any]:
    at = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "edge"}
    return {"parentRef": at | reference, "controllerName": "example.com/it", "conditions": list(conditions)}


def route(*parents: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "status": {"parents": list(parents)}}


def routed(
    by: Gateway,
    live: dict[str, Any] | None,
    problem: Problem | None = None,
    namespace: str = "team",
    pool: dict[str, Any] | None = None,
) -> tuple[str, str, str]:
    conditions = Conditions((*DEPLOYMENT_TYPES, Type.ROUTED))
    set_routed(conditions, namespace, by, live, problem, pool)
    found = conditions._condition(Type.ROUTED)
    return found.status, found.reason, found.message


GOOD = parent(said("Accepted"), said("ResolvedRefs"))


def test_where_it_is_found() -> None:
    assert routed(gateway(**BY_PATH), route(GOOD))[::2] == (
        "True",
        "Gateway edge/public leads here from llm.example/qwen3-8b/v1",
    )
    by_header = "Gateway edge/public leads here from llm.example/v1 with the header x-model: qwen3-8b"
    assert routed(gateway(**BY_HEADER), route(GOOD))[2] == by_header
    either = routed(gateway(**(BY_PATH | BY_HEADER)), route(GOOD))[2]
    assert "llm.example/qwen3-8b/v1 and llm.example/v1 with the header" in either
    assert gateway_endpoint(gateway()) == "/v1"


@pytest.mark.parametrize(
    "live",
    [
        None,
        {"metadata": {"generation": 1}},
        {"metadata": {"generation": 1}, "status": None},
        route(),
        route(parent()),
        route(parent(said("Accepted"))),
        route(parent(said("Accepted", "Unknown"), said("ResolvedRefs"))),
        route(parent(said("Accepted", generation=1), said("ResolvedRefs", generation=1))),
        route(parent(said("Accepted"), said("ResolvedRefs"), name="another")),
        route(parent(said("Accepted"), said("ResolvedRefs"), namespace="team")),
        route(parent(said("Accepted"), said("ResolvedRefs"), sectionName="http")),
    ],
)
def test_nobody_has_said_anything_of_it(live: dict[str, Any] | None) -> None:
    status, reason, message = routed(gateway(**BY_PATH), live)
    assert (status, reason) == ("Unknown", Reason.ROUTE_PENDING)
    assert "edge/public" in message and "is it there" in message


def test_what_is_wrong_is_reported_in_its_words() -> None:
    not_allowed = parent(
        said("Accepted", "False", "NotAllowedByListeners", "no listener takes it"), said("ResolvedRefs")
    )
    assert routed(gateway(**BY_PATH), route(not_allowed)) == (
        "False",
        Reason.ROUTE_NOT_ACCEPTED,
        "Gateway edge/public: NotAllowedByListeners: no listener takes it",
    )
    no_backend = parent(
        said("Accepted"), said("ResolvedRefs", "False", "BackendNotFound", "Service team/chat not found")
    )
    assert routed(gateway(**BY_PATH), route(no_backend))[1] == Reason.ROUTE_NOT_RESOLVED
    # Another controller that has the same Gateway does not hide it.
    assert routed(gateway(**BY_PATH), route(GOOD, not_allowed))[0] == "False"


def test_a_gateway_of_the_same_namespace() -> None:
    here = Gateway.model_validate({"parentRef": {"name": "public"}})
    without = {"parentRef": {"name": "public"}, "conditions": [said("Accepted"), said("ResolvedRefs")]}
    assert routed(here, route(without), namespace="edge")[0] == "True"
    assert routed(here, route(GOOD), namespace="edge")[0] == "True"
    assert routed(here, route(GOOD))[0] == "Unknown"


def test_why_there_is_none() -> None:
    problem = Problem(Reason.GATEWAY_NOT_ENABLED, "the operator makes no routes", "spec.service.gateway")
    assert routed(gateway(), None, problem) == (
        "False",
        Reason.GATEWAY_NOT_ENABLED,
        "spec.service.gateway: the operator makes no routes",
    )


def test_the_pool_of_an_endpoint_picker() -> None:
    """It is said that a picker chooses, and by whom it is not taken; a Gateway need not say anything of a pool."""
    picked = gateway(**BY_PATH, endpointPicker={"name": "picker"})
    silent = route()
    assert routed(picked, route(GOOD), pool=silent)[::2] == (
        "True",
        "Gateway edge/public leads here from llm.example/qwen3-8b/v1; the endpoint picker picker chooses",
    )
    assert "picker" not in routed(picked, route(GOOD))[2], "it leads to the Service"
    assert routed(picked, route(GOOD), pool=route(GOOD))[0] == "True"
    lost = parent(said("Accepted"), said("ResolvedRefs", "False", "InvalidExtensionRef", "no Service picker"))
    assert routed(picked, route(GOOD), pool=route(lost)) == (
        "False",
        Reason.INFERENCE_POOL_NOT_ACCEPTED,
        "Gateway edge/public: InvalidExtensionRef: no Service picker",
    )
    at_listener = Gateway.model_validate(
        {
            "parentRef": {"name": "public", "namespace": "edge", "sectionName": "https"},
            "endpointPicker": {"name": "picker"},
        }
    )
    of_listener = parent(said("Accepted"), said("ResolvedRefs"), sectionName="https")
    assert routed(at_listener, route(of_listener), pool=route(lost))[1] == Reason.INFERENCE_POOL_NOT_ACCEPTED
    elsewhere = lost | {"parentRef": {"name": "another"}}
    assert routed(picked, route(GOOD), pool=route(elsewhere))[0] == "True"

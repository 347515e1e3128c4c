"""The condition Routed: what the Gateway says of the route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qwen3_operator.api.conditions import Type
from qwen3_operator.api.gateway import Gateway
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.route import gateway_endpoint
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.accepted import in_words
from qwen3_operator.status.conditions import Conditions

Object = Mapping[str, Any]
_MUST_HOLD = {"Accepted": Reason.ROUTE_NOT_ACCEPTED, "ResolvedRefs": Reason.ROUTE_NOT_RESOLVED}
"""Conditions that a Gateway's controller sets for each parent, and what it means for one not to hold."""


def set_routed(
    conditions: Conditions, namespace: str, gateway: Gateway, route: Object | None, problem: Problem | None
) -> None:
    """Set Routed by the HTTPRoute as it was seen, or by why there is none."""
    if problem is not None:
        conditions.set(Type.ROUTED, "False", problem.reason, in_words(problem))
        return
    parent = gateway.parent_ref
    called = f"Gateway {parent.namespace or namespace}/{parent.name}"
    said = list(_said(route or {}, namespace, gateway))
    for kind, reason in _MUST_HOLD.items():
        for condition in said:
            if condition.get("type") == kind and condition.get("status") == "False":
                words = f"{called}: {condition.get('reason')}: {condition.get('message')}"
                conditions.set(Type.ROUTED, "False", reason, words)
                return
    if not _MUST_HOLD.keys() <= {c.get("type") for c in said if c.get("status") == "True"}:
        words = f"{called} has not said yet whether it takes the route: is it there, and does its controller run?"
        conditions.set(Type.ROUTED, "Unknown", Reason.ROUTE_PENDING, words)
        return
    ways = [gateway_endpoint(gateway)] if gateway.path_prefix or not gateway.header else []
    if header := gateway.header:
        plain = gateway_endpoint(gateway.model_copy(update={"path_prefix": None}))
        ways.append(f"{plain} with the header {header.name}: {header.value}")
    conditions.set(Type.ROUTED, "True", Reason.ROUTED, f"{called} leads here from {' and '.join(ways)}")


def _said(route: Object, namespace: str, gateway: Gateway) -> Iterator[Object]:
    """What was said of the route as it is now, by whoever has the Gateway."""
    generation = (route.get("metadata") or {}).get("generation") or 0
    for parent in (route.get("status") or {}).get("parents") or ():
        if _is(parent.get("parentRef") or {}, namespace, gateway):
            for condition in parent.get("conditions") or ():
                if (condition.get("observedGeneration") or generation) >= generation:
                    yield condition


def _is(reference: Object, namespace: str, gateway: Gateway) -> bool:
    ours = gateway.parent_ref
    return (
        reference.get("name") == ours.name
        and (reference.get("namespace") or namespace) == (ours.namespace or namespace)
        and reference.get("sectionName") == ours.section_name
    )

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
    conditions: Conditions,
    namespace: str,
    gateway: Gateway,
    route: Object | None,
    problem: Problem | None,
    pool: Object | None = None,
) -> None:
    """Set Routed by the HTTPRoute as it was seen, and the `pool` of which a picker chooses; or by why there is none."""
    if problem is not None:
        conditions.set(Type.ROUTED, "False", problem.reason, in_words(problem))
        return
    parent = gateway.parent_ref
    called = f"Gateway {parent.namespace or namespace}/{parent.name}"
    said = list(_said(route or {}, namespace, gateway))
    of_pool = list(_said(pool or {}, namespace, gateway, by_section=False))
    must_hold = [(kind, reason, said) for kind, reason in _MUST_HOLD.items()]
    must_hold += [(kind, Reason.INFERENCE_POOL_NOT_ACCEPTED, of_pool) for kind in _MUST_HOLD]
    for kind, reason, heard in must_hold:
        for condition in heard:
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
    picked = f"; the endpoint picker {gateway.endpoint_picker.name} chooses" if pool and gateway.endpoint_picker else ""
    conditions.set(Type.ROUTED, "True", Reason.ROUTED, f"{called} leads here from {' and '.join(ways)}{picked}")


def _said(of: Object, namespace: str, gateway: Gateway, *, by_section: bool = True) -> Iterator[Object]:
    """What was said of a route or a pool as it is now, by whoever has the Gateway. Of a pool nobody says anything for
    one listener."""
    generation = (of.get("metadata") or {}).get("generation") or 0
    for parent in (of.get("status") or {}).get("parents") or ():
        reference = parent.get("parentRef") or {}
        if _is(reference, namespace, gateway) and (not by_section or _is_section(reference, gateway)):
            for condition in parent.get("conditions") or ():
                if (condition.get("observedGeneration") or generation) >= generation:
                    yield condition


def _is(reference: Object, namespace: str, gateway: Gateway) -> bool:
    ours = gateway.parent_ref
    return reference.get("name") == ours.name and (reference.get("namespace") or namespace) == (
        ours.namespace or namespace
    )


def _is_section(reference: Object, gateway: Gateway) -> bool:
    return bool(reference.get("sectionName") == gateway.parent_ref.section_name)

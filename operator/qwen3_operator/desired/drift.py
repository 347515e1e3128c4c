"""Does a live object already say what we want of it? Then no write is needed.

Two questions make the answer: the hash of what was applied last (a field that we no longer want shows there), and
whether the live object still holds every value we want (a hand's edit shows there). Values are compared as the API
server may have rewritten them: `1000m` and `1` are the same quantity.
"""

from __future__ import annotations

from typing import Any

from qwen3_operator.controller.quantity import quantity
from qwen3_operator.naming import APPLIED_HASH, digest

# Maps that mean something else with one more key in them.
_EXACT_MAPS = {"selector", "matchLabels", "nodeSelector"}
# Lists that mean something else with one more item in them: of a ScaledObject, and of an HTTPRoute.
_EXACT_LISTS = {"triggers", "policies", "parentRefs", "backendRefs", "filters", "headers"}
_LIST_KEYS = ("name", "mountPath", "containerPort", "uid", "type", "topologyKey", "devicePath", "ip")


def stamped(desired: dict[str, Any]) -> dict[str, Any]:
    """`desired` with the hash of itself as an annotation."""
    meta = desired["metadata"]
    annotations = meta.get("annotations", {}) | {APPLIED_HASH: digest(desired, 16)}
    return desired | {"metadata": meta | {"annotations": annotations}}


def up_to_date(live: dict[str, Any] | None, desired: dict[str, Any]) -> bool:
    """Whether `live` already says all of `desired` (which is `stamped`)."""
    return live is not None and _covers(live, desired, "")


def holds_all_of(live: Any, desired: Any) -> bool:
    """Whether `live` has every value of `desired`."""
    return _covers(live, desired, "")


def with_ports_of(live: dict[str, Any], desired: dict[str, Any]) -> dict[str, Any]:
    """`live` with the ports of `desired` in the place of those that have their names or numbers.

    Ports are merged by number, and a number changed by hand makes another port that takes the name of ours: an apply
    would then be refused for ever. Ports that somebody added under names of their own stay.
    """
    result = dict(live)
    for key, value in desired.items():
        if key == "ports" and key in live:
            result[key] = _merged_ports(live[key], value)
        elif isinstance(value, dict) and isinstance(live.get(key), dict):
            result[key] = with_ports_of(live[key], value)
        elif key == "containers" and key in live:
            ours = {container["name"]: container for container in value}
            result[key] = [with_ports_of(c, ours[c["name"]]) if c["name"] in ours else c for c in live[key]]
    return result


def _merged_ports(live: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    taken = {port.get("name") for port in ours} | {_number(port) for port in ours}
    as_they_are = [next((there for there in live if _covers(there, port, "")), port) for port in ours]
    return as_they_are + [port for port in live if not {port.get("name"), _number(port)} & taken]


def _number(port: dict[str, Any]) -> tuple[Any, Any]:
    return port.get("port") or port.get("containerPort"), port.get("protocol", "TCP")


def _covers(live: Any, desired: Any, field: str) -> bool:
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            return not desired
        if field in _EXACT_MAPS and set(live) != set(desired):
            return False
        return all(_covers(live.get(key), value, key) for key, value in desired.items())
    if isinstance(desired, list):
        return _covers_list(live or [], desired, field)
    return live == desired or _same_quantity(live, desired) or (live is None and desired in ("", False, 0))


def _covers_list(live: list[Any], desired: list[Any], field: str) -> bool:
    if field in _EXACT_LISTS and len(live) != len(desired):
        return False
    key = next((k for k in _LIST_KEYS if _tells_apart(k, desired)), None)
    if key is None:
        return len(live) == len(desired) and all(_covers(a, b, field) for a, b in zip(live, desired, strict=True))
    by_key = {item[key]: item for item in live if _has_key(item, key)}
    return all(_covers(by_key.get(item[key]), item, field) for item in desired)


def _tells_apart(key: str, items: list[Any]) -> bool:
    """Whether each of `items` has its own `key`: two spread constraints, say, may well share their topologyKey."""
    return bool(items) and all(_has_key(i, key) for i in items) and len({i[key] for i in items}) == len(items)


def _has_key(item: Any, key: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get(key), str | int)


def _same_quantity(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, str | int) or not isinstance(b, str | int):
        return False
    try:
        return quantity(a) == quantity(b)
    except ValueError:
        return False

"""Reading an object of the API server, which may lack anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def status_of(obj: Object) -> Mapping[str, Any]:
    """Its status; empty where it has none yet."""
    return obj.get("status") or {}


def condition(obj: Object, kind: str) -> Mapping[str, str]:
    """The condition of that type; empty where it has none."""
    return next((c for c in status_of(obj).get("conditions") or () if c.get("type") == kind), {})


def is_ready(obj: Object) -> bool:
    """Whether its condition Ready is True: of a pod, that it answers."""
    return condition(obj, "Ready").get("status") == "True"

"""JSON of others: objects of the API server and words of pods, however deep they are nested.

The API server takes objects of up to 10,000 levels. Python's own parser, which kopf uses, ends at the recursion limit,
and pydantic's at about 200 levels. Nothing that we read means anything below MAX_DEPTH: there a value is cut.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

MAX_DEPTH = 100
"""Levels that are kept. Kubernetes' own kinds have some 15; managedFields of them a few more."""
CUT = "(nested too deep: cut here)"
"""Stands in the place of what was below."""
MOST_LEVELS = 10_000
"""Levels of an object that the API server accepts (apimachinery's limit)."""
_RECURSION_LIMIT = MOST_LEVELS + 2_000
_LEAST_STACK = 4 * 2**20
"""C stack in bytes for so many levels, twice what was measured (2 MiB were enough for parsing, writing, comparing and
printing 10,000 levels with CPython 3.11)."""


class Undecodable(ValueError):
    """Text that is no JSON, or a value that is nested too deep; the message says where."""


def allow_deep_json() -> None:
    """Raise this process's recursion limit so that `json.loads` reads whatever the API server accepts: kopf parses the
    events of its watches by it, and an error there ends the process, at each start anew.

    Not where the stack is smaller than usual: a RecursionError is better than a segmentation fault.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_STACK:
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION_LIMIT))


def decode(data: bytes | str) -> Any:
    """The JSON value; where it is deeper than pydantic reads (some 200 levels), cut to MAX_DEPTH: one such object among
    others in a list is then refused alone. Raises Undecodable for what is no JSON."""
    with contextlib.suppress(ValueError):
        return from_json(data)
    try:
        return cut(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"no JSON: {error}") from error


def depth(value: Any, limit: int | None = None) -> int:
    """Levels of maps and lists in `value`, counted to `limit` + 1 at most. Does not recurse."""
    level, layer = 0, _containers([value])
    while layer and (limit is None or level <= limit):
        level += 1
        layer = [child for node in layer for child in _containers(node.values() if isinstance(node, dict) else node)]
    return level


def cut(value: Any, limit: int = MAX_DEPTH) -> Any:
    """`value` itself where it has at most `limit` levels, else a copy in which CUT stands for everything below."""
    return value if depth(value, limit) <= limit else _shallow(value, limit)


def require_depth(value: Any, limit: int, what: str) -> None:
    """Raise Undecodable where `value` has more than `limit` levels; `what` names it."""
    if depth(value, limit) > limit:
        raise Undecodable(f"{what} is nested deeper than {limit} levels")


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def _shallow(value: Any, levels: int) -> Any:
    """Recurses `levels` deep at most."""
    if not isinstance(value, dict | list):
        return value
    if levels == 0:
        return CUT
    if isinstance(value, dict):
        return {key: _shallow(child, levels - 1) for key, child in value.items()}
    return [_shallow(child, levels - 1) for child in value]

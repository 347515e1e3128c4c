"""JSON that pods write, in termination messages and in their logs.

Anybody may have built the image: what is not of its type is not believed, and what the CRD or JSON itself would refuse
does not get into a status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from typing import Any

from pydantic_core import from_json

from qwen3_operator.api.model import MAX_FACTS
from qwen3_operator.controller.decode import depth
from qwen3_operator.engine.text import bounded_lines

LIMIT = 2**53
"""Integers below it survive every JSON reader."""
MOST_CHARACTERS = 8192
"""Of a message; the kubelet keeps 4096 bytes."""
DEEPEST = 8
_LARGEST_INTEGER = 2**63
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,99}")


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`; None where it is none, or nested beyond all sense."""
    if not text.startswith("{") or len(text) > MOST_CHARACTERS:
        return None
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and depth(value, DEEPEST) <= DEEPEST else None


def newest_event(log_tail: str, events: Container[str]) -> dict[str, Any]:
    """The last line of a log that is a JSON object whose `event` is one of these; empty where there is none."""
    for line in reversed(bounded_lines(log_tail)):
        said = json_object(line.strip())
        if said is not None and isinstance(event := said.get("event"), str) and event in events:
            return said
    return {}


def is_size(value: Any) -> bool:
    """Whether it is a count that a status can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LIMIT


def is_text(value: Any) -> bool:
    """Whether it is a text with something in it."""
    return isinstance(value, str) and len(value) > 0


def is_reason(value: Any) -> bool:
    """Whether it is one CamelCase word, as a condition's reason."""
    return isinstance(value, str) and _REASON.fullmatch(value) is not None


def are_facts(value: Any) -> bool:
    """Whether it is a map that `status.model.config` can hold and that comes back from there as it is."""
    return isinstance(value, dict) and len(value) <= MAX_FACTS and all(map(_is_kept, _leaves(value)))


def counts(said: Mapping[str, Any], names: Container[str]) -> dict[str, int]:
    """The counts among these fields, as whole numbers."""
    return {name: int(value) for name, value in said.items() if name in names and is_size(value)}


def _is_kept(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_LARGEST_INTEGER <= value < _LARGEST_INTEGER


def _leaves(value: Any) -> list[Any]:
    """What is neither map nor list in `value`, which is not deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for item in inner for leaf in _leaves(item)]

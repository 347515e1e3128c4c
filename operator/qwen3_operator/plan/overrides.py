"""spec.engine.hfOverrides: what goes over config.json because its user says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.decode import depth
from qwen3_operator.engine.problem import Problem

FIELD = "spec.engine.hfOverrides"
_DEEPEST = 6
_OF_LENGTH = ("max_position_embeddings", "rope_parameters", "rope_scaling")


def read_overrides(text: str | None) -> tuple[dict[str, Any], list[Problem]]:
    """The JSON object in `text`; empty, and a problem, where it is none."""
    if text is None:
        return {}, []
    try:
        found = json.loads(text)
        # Python reads more than others do: NaN, and half of a character where it is escaped.
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return {}, [Problem(Reason.WRONG_ARGUMENT_VALUE, f"it is not JSON: {str(error)[:200]}", FIELD)]
    if not isinstance(found, dict) or depth(found, _DEEPEST) > _DEEPEST:
        return {}, [Problem(Reason.WRONG_ARGUMENT_VALUE, "it is no JSON object, or one that is too deep", FIELD)]
    return found, []


def merged(ours: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` over `ours`, map by map; a rope is one thing, so of two the user's is taken whole."""
    result = dict(ours)
    for key, value in own.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and key not in _OF_LENGTH:
            value = merged(before, value)
        result[key] = value
    return result


def speaks_of_length(text: str) -> bool:
    """Whether an override says how far the model reaches."""
    return any(f'"{key}"' in text for key in _OF_LENGTH)

"""The field `podTemplatePatch`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from qwen3_operator.api.base import PASSED_ON
from qwen3_operator.controller.decode import require_depth

MAX_PATCH = 32768
"""Characters of the text."""
MAX_PATCH_DEPTH = 32
"""Levels; a pod template has some 12."""
IS_TEXT = "must be text: write `podTemplatePatch: |` and the patch indented below it"


def _bounded(patch: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(patch, str):
        if len(patch) > MAX_PATCH:
            raise ValueError(f"must have at most {MAX_PATCH} characters")
        return patch
    require_depth(patch, MAX_PATCH_DEPTH, "the patch")
    if _weight(patch, MAX_PATCH) > MAX_PATCH:
        raise ValueError(f"must be at most {MAX_PATCH} characters large")
    return patch


def _weight(patch: dict[str, Any], limit: int) -> int:
    """Characters and values in `patch`, counted to a little over `limit`."""
    weight, waiting = 0, [patch]
    while waiting and weight <= limit:
        node: Any = waiting.pop()
        weight += len(node) if isinstance(node, str) else 1
        if isinstance(node, dict):
            weight += sum(map(len, node))
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return weight


# An older CRD stored an object here. One that is there is read as it was, so that its servers go on, and the API server
# hands it out whole only where the schema has no type: with `type: string` it would prune it to {} and refuse every
# status by server-side apply. What is written now must be text: an object with anything in it is refused.
PodTemplatePatch = Annotated[
    str | dict[str, Any],
    AfterValidator(_bounded),
    WithJsonSchema({PASSED_ON: True, "maxLength": MAX_PATCH, "maxProperties": 0, "maxItems": 0}),
]

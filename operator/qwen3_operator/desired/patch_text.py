"""The text of a podTemplatePatch: YAML or JSON of a map, as Kubernetes reads it.

The text comes from a tenant, so it holds only what JSON can hold: no anchors (a few lines of them become gigabytes), no
tags, no dates, no key twice. Its nesting is counted before anything recurses.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from qwen3_operator.api.patch import MAX_PATCH, MAX_PATCH_DEPTH
from qwen3_operator.controller.decode import Undecodable, require_depth

_LARGEST = 2**63


class PatchError(ValueError):
    """The patch cannot be read or merged; the message names the field."""


def parse_patch(text: str, field: str) -> dict[str, Any]:
    """The patch in `text`; empty where that is. Raises PatchError, which begins with `field`."""
    if len(text) > MAX_PATCH:
        raise PatchError(f"{field} has more than {MAX_PATCH} characters")
    try:
        value = _json(text) if text.lstrip().startswith("{") else _yaml(text)
        require_depth(value, MAX_PATCH_DEPTH, "the patch")
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f"line {at.line + 1}, column {at.column + 1}: " if at else ""
        raise PatchError(f"{field}: {where}{error.problem or error.context}") from error
    except Undecodable as error:
        raise PatchError(f"{field}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PatchError(f"{field}: it is neither YAML nor JSON: {str(error)[:200]}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PatchError(f"{field}: it has to be a map, like `spec: ...`")
    return value


def _json(text: str) -> Any:
    """JSON, or else the flow style of YAML."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_int=_integer)
    except json.JSONDecodeError:
        return _yaml(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise Undecodable(f"the key {twice[:60]} is there twice")
    return result


def _no_number(text: str) -> Any:
    raise Undecodable(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
        raise Undecodable(f"{text[:30]} is too large a number")
    return int(text)


def _yaml(text: str) -> Any:
    _require_plain(text)
    return yaml.load(text, Loader=_Loader)


def _refusal(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _require_plain(text: str) -> None:
    """Events come without recursion: nothing is composed from what is too deep, or has anchors or tags."""
    level = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refusal("anchors and aliases are not taken", event)
        if getattr(event, "tag", None):
            raise _refusal("tags are not taken", event)
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
        if level > MAX_PATCH_DEPTH:
            words = f"nested deeper than {MAX_PATCH_DEPTH} levels"
            raise _refusal(words, event)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: JSON's types, and keys that are strings and differ."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[Hashable] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                words = f"the key {key.value!s:.60} is no string: put it in quotes"
                raise _refusal(words, key)
            if key.value in keys:
                words = f"the key {key.value:.60} is there twice"
                raise _refusal(words, key)
            keys.add(key.value)
        result: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return result

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if len(text) > 70 or not -_LARGEST <= (number := self.construct_yaml_int(node)) < _LARGEST:
            raise _refusal("too large a number", node)
        return int(number)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        number = float(self.construct_yaml_float(node))
        if not math.isfinite(number):
            raise _refusal("no number of JSON", node)
        return number


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What a word without quotes may be: without dates, and without numbers to the base of 60 (`1:30`)."""
    whole = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
    resolvers = {}
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept = [row for row in rows if row[0].rsplit(":", 1)[-1] in ("null", "bool", "float")]
        if any(row[0].endswith(":int") for row in rows):
            kept.append(("tag:yaml.org,2002:int", whole))
        resolvers[first] = kept
    return resolvers


_Loader.yaml_implicit_resolvers = _resolvers()
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)

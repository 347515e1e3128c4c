"""Every constraint of the CRDs with one value that passes and one that is refused, and the words of the refusal.

A constraint is found in a CRD by its schema path (`[]`: items of a list, `{}`: values of a map) and its keyword. The
tables below are written by hand, so that a number changed in the schema by mistake is noticed; `in_schema` walks a CRD,
so that a constraint without a row is noticed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

Object = dict[str, Any]
Change = dict[str, Any]
"""Paths (list items by number) -> value; ABSENT removes."""
ABSENT = object()

_KEYWORDS = (
    *("pattern", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
    *("allOf", "anyOf", "oneOf", "not"),
)


class Constraint(NamedTuple):
    """Where a constraint stands."""

    path: str
    keyword: str
    """Schema keyword; `format date-time`, `required NAME`, `unique` (list type set or map), or `rule MESSAGE`."""


def in_schema(schema: Object, path: str = "") -> Iterator[Constraint]:
    """Every constraint of a structural schema."""
    for keyword in _KEYWORDS:
        if keyword in schema:
            yield Constraint(path, keyword)
    if schema.get("format") == "date-time":
        yield Constraint(path, "format date-time")
    for name in schema.get("required", []):
        yield Constraint(path, f"required {name}")
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        yield Constraint(path, "unique")
    for rule in schema.get("x-kubernetes-validations", []):
        yield Constraint(path, f"rule {rule['message']}")
    for name, below in schema.get("properties", {}).items():
        yield from in_schema(below, f"{path}.{name}".lstrip("."))
    if isinstance(schema.get("items"), dict):
        yield from in_schema(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from in_schema(schema["additionalProperties"], f"{path}{{}}")


@dataclass(frozen=True)
class Case:
    """One constraint: a change of the full object that passes, one that is refused, and words of the refusal."""

    path: str
    keyword: str
    accept: Change
    reject: Change
    words: str
    before: Change | None = field(default=None)
    """For a rule about updates: the object before. The changes are then made to that."""

    @property
    def constraint(self) -> Constraint:
        return Constraint(self.path, self.keyword)

    def under(self, prefix: str) -> Case:
        """The same case where the part that it speaks of stands under `prefix`."""

        def moved(change: Change) -> Change:
            return {f"{prefix}{path}": value for path, value in change.items()}

        return replace(self, path=f"{prefix}{self.path}", accept=moved(self.accept), reject=moved(self.reject))


def changed(obj: Object, change: Change) -> Object:
    """A copy of `obj` with the change made."""
    result = copy.deepcopy(obj)
    for path, value in change.items():
        *parents, last = path.split(".")
        node: Any = result
        for part in parents:  # each is copied on the way: it may be of an earlier value, which other cases share
            at: Any = int(part) if isinstance(node, list) else _unescaped(part)
            node[at] = copy.copy(node[at]) if isinstance(node, list) or at in node else {}
            node = node[at]
        if value is ABSENT:
            del node[_unescaped(last)]
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[_unescaped(last)] = value
    return result


def _unescaped(part: str) -> str:
    return part.replace("~", ".")


def _at(path: str) -> str:
    """Schema path -> path of the one item that the full objects have there."""
    return path.replace("[]", ".0").replace("{}", ".k")


# ---- rows for one kind of constraint


def text(
    path: str, *, least: int | None = None, most: int, letter: str = "a", longest: str = "", rest: Change | None = None
) -> list[Case]:
    """Length of a string. `longest`: a value of `most` characters, where not every string will do."""
    at, rest = _at(path), rest or {}
    fits = longest or letter * most
    assert len(fits) == most
    cases = [
        Case(path, "maxLength", {at: fits} | rest, {at: fits + letter} | rest, f"may not be more than {most} bytes")
    ]
    if least is not None:
        words = f"should be at least {least} chars long"
        cases.append(Case(path, "minLength", {at: letter * least} | rest, {at: letter * (least - 1)} | rest, words))
    return cases


def time(path: str) -> list[Case]:
    """A moment, and the length of its text."""
    at, words = _at(path), "must be of type date-time"
    longest = f"2026-01-01T00:00:00.{'0' * 43}Z"
    long = Case(path, "maxLength", {at: longest}, {at: longest[:-1] + "0Z"}, "may not be more than 64 bytes")
    return [Case(path, "format date-time", {at: "2026-01-01T00:00:00Z"}, {at: "soon"}, words), long]


def number(path: str, least: int, most: int) -> list[Case]:
    """Bounds of an integer."""
    at = _at(path)
    return [
        Case(path, "minimum", {at: least}, {at: least - 1}, f"should be greater than or equal to {least}"),
        Case(path, "maximum", {at: most}, {at: most + 1}, f"should be less than or equal to {most}"),
    ]


def choice(
    path: str, *values: str, rest: Change | None = None, good: object = None, other: str = "Other"
) -> list[Case]:
    """An enumeration; `good`, else the last of the values, is the one accepted, all are named in the refusal."""
    at, listed = _at(path), ", ".join(f'"{v}"' for v in values)
    return [
        Case(
            path,
            "enum",
            {at: values[-1] if good is None else good} | (rest or {}),
            {at: other},
            f'Unsupported value: "{other}": supported values: {listed}',
        )
    ]


def matching(path: str, pattern: str, good: str, bad: str) -> list[Case]:
    """A pattern."""
    return [Case(path, "pattern", {_at(path): good}, {_at(path): bad}, f"should match '{pattern}'")]


def items(path: str, most: int, item: Callable[[int], Any]) -> list[Case]:
    """Number of items of a list."""
    at = _at(path)
    full = [item(i) for i in range(most + 1)]
    return [Case(path, "maxItems", {at: full[:-1]}, {at: full}, f"must have at most {most} items")]


def entries(path: str, most: int, value: Any = "v", key: str = "k{}") -> list[Case]:
    """Number of entries of a map."""
    at = _at(path)
    full = {key.format(i): value for i in range(most + 1)}
    less = dict(list(full.items())[:-1])
    return [Case(path, "maxProperties", {at: less}, {at: full}, f"must have at most {most} items")]


def unique(path: str, first: Any, second: Any, again: Any | None = None) -> list[Case]:
    """No two items alike (or with the same key: `again` has that of `first`)."""
    return [Case(path, "unique", {_at(path): [first, second]}, {_at(path): [first, again or first]}, "Duplicate value")]


def required(path: str, *names: str) -> list[Case]:
    """Fields that must be there."""
    at = f"{_at(path)}." if path else ""
    dotted = f"{path}." if path else ""
    # List items are numbered in the refusal: spec.engine.env[0].name
    return [
        Case(
            path,
            f"required {name}",
            {},
            {f"{at}{name}": ABSENT},
            f"{dotted.replace('[]', '[0]')}{name}: Required value",
        )
        for name in names
    ]


def rule(path: str, message: str, *, accept: Change, reject: Change, before: Change | None = None) -> list[Case]:
    """A CEL rule, known by its message. Paths of the changes begin at `path`."""
    at = f"{_at(path)}." if path else ""

    def full(change: Change) -> Change:
        return {(at + p if p else _at(path)): value for p, value in change.items()}

    return [
        Case(path, f"rule {message}", full(accept), full(reject), message, None if before is None else full(before))
    ]


def under(prefix: str, cases: Iterable[Case]) -> list[Case]:
    """A table where its part stands under `prefix`."""
    return [case.under(prefix) for case in cases]


def kubectl_path(constraint_path: str) -> str:
    """The path as the API server names it in a refusal, up to the first list or map."""
    return re.split(r"\[\]|\{\}", constraint_path)[0]

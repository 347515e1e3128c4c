"""pydantic models as structural schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from qwen3_operator.api.base import ApiModel, rule, rules
from qwen3_operator.api.schema import structural_schema


class Inner(ApiModel):
    """Words of the class."""

    model_config = {"json_schema_extra": rules(rule("self.count > 0", "of the class"))}
    count: Annotated[int, Field(ge=1, le=9)] = 3
    """How many."""


class Outer(ApiModel):
    """An outer thing."""

    plain: Inner
    """Words of the field."""
    ruled: Annotated[Inner, Field(json_schema_extra=rules(rule("true", "of the field")))] = Inner()
    """Two rules."""
    long_name: Annotated[str, StringConstraints(max_length=5)] | None = None
    """Optional."""
    title: Literal["a", "b"] = "a"
    """A field of that name."""
    labels: Annotated[dict[Annotated[str, StringConstraints(max_length=3)], str], Field(max_length=2)] = {}
    """A map."""


class Tree(ApiModel):
    """A recursive one."""

    children: list[Tree] = []
    """More."""


def properties() -> dict[str, Any]:
    it: dict[str, Any] = structural_schema(Outer)["properties"]
    return it


def test_references_are_inlined_and_the_fields_words_win() -> None:
    assert properties()["plain"]["description"] == "Words of the field."
    assert properties()["plain"]["properties"]["count"] == {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": 9,
        "default": 3,
        "description": "How many.",
    }


def test_rules_of_class_and_field_both_hold() -> None:
    assert [r["message"] for r in properties()["ruled"]["x-kubernetes-validations"]] == ["of the class", "of the field"]


def test_optional_is_absent_not_null() -> None:
    assert properties()["longName"] == {"type": "string", "maxLength": 5, "description": "Optional."}
    assert structural_schema(Outer)["required"] == ["plain"]


def test_a_field_called_title_is_a_field() -> None:
    assert properties()["title"]["enum"] == ["a", "b"]
    assert "title" not in structural_schema(Outer)


def test_keys_of_maps_have_no_schema_of_their_own() -> None:
    assert properties()["labels"] == {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": 2,
        "description": "A map.",
    }


def test_an_object_as_default_is_left_to_the_author() -> None:
    assert "default" not in properties()["ruled"] and "default" not in properties()["labels"]


def test_a_recursive_model_is_refused() -> None:
    with pytest.raises(TypeError, match="Tree is recursive"):
        structural_schema(Tree)


def test_outside_names_are_camel_case_inside_names_are_snake_case() -> None:
    it = Outer.model_validate({"plain": {}, "longName": "x", "unknown": 1})
    assert it.long_name == "x" and it.model_dump(by_alias=True, exclude_defaults=True) == {"plain": {}, "longName": "x"}

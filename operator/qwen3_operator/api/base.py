"""The base of every API model, and the constrained types that the kinds share.

Field docstrings become the descriptions of `kubectl explain`. Constraints that need words of their own are CEL rules:
`rule()` carries one from the model to the CRD. Every string, list and map is bounded, which is also what keeps the
API server's cost estimate of the rules low.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

from qwen3_operator.controller.quantity import quantity


class ApiModel(BaseModel):
    """A node of a spec or status: camelCase outside, snake_case inside, immutable once read."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",  # a newer CRD may know fields that this operator does not
        use_attribute_docstrings=True,
    )


def rule(expression: str, message: str, **extra: str) -> dict[str, str]:
    """One `x-kubernetes-validations` entry: CEL `expression` over `self`, `message` for the person who applied it."""
    return {"rule": expression, "message": message, **extra}


def rules(*entries: dict[str, str], **extra: Any) -> dict[str, Any]:
    """`json_schema_extra` with validation rules (and other schema keywords, '-' written as '_')."""
    return {"x-kubernetes-validations": list(entries)} | {k.replace("_", "-"): v for k, v in extra.items()}


def list_map(*keys: str) -> dict[str, Any]:
    """`json_schema_extra` of a list whose items are merged by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC_LIST: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET_LIST: dict[str, Any] = {"x-kubernetes-list-type": "set"}
ATOMIC_MAP: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}
EMPTY_DEFAULT: dict[str, Any] = {"default": {}}

Text = Annotated[str, StringConstraints(max_length=1024)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=253)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
AnnotationValue = Annotated[str, StringConstraints(max_length=16384)]

ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    Field(
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
                "must be the name of an object: lower-case letters, digits, '-' and '.'",
            )
        )
    ),
]


def _quantity(value: str | int) -> str | int:
    """What the rule below says, for specs that no API server has seen. So `_positive_quantity`."""
    try:
        quantity(value)
    except ValueError:
        raise ValueError(QUANTITY_FORM["message"]) from None
    return value


def _positive_quantity(value: str | int) -> str | int:
    try:
        positive = quantity(value) > 0
    except ValueError:
        positive = False
    if not positive:
        raise ValueError(POSITIVE_QUANTITY["message"])
    return value


QUANTITY_FORM = rule("type(self) == int || isQuantity(self)", "must be a quantity, like 4, 500m or 16Gi")
POSITIVE_QUANTITY = rule(
    "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
    "must be a quantity greater than 0, like 40Gi",
)
Quantity = Annotated[
    str | int,
    AfterValidator(_positive_quantity),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "maxLength": 32, "x-kubernetes-validations": [POSITIVE_QUANTITY]}
    ),
]
# Requests may be 0; only the format is checked here.
ResourceQuantity = Annotated[
    str | int,
    AfterValidator(_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32, "x-kubernetes-validations": [QUANTITY_FORM]}),
]

# A part of Kubernetes' own API that is passed on as it is: the API server checks it when the child is applied.
PassedOn = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]


class SecretKeyRef(ApiModel):
    """A key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Key
    """Key in the Secret's data."""


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: Key
    """Key in the ConfigMap's data."""

"""The base of every API model, and the constrained types that the kinds share.

Field docstrings become the descriptions of `kubectl explain`. Constraints that need words of their own are CEL rules:
`rule()` carries one from the model to the CRD. Every string, list and map is bounded, which is also what keeps the
API server's cost estimate of the rules low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

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
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]
"""A moment, RFC 3339."""
Key = Annotated[str, StringConstraints(min_length=1, max_length=253)]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
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


@dataclass(frozen=True)
class QuantityRange:
    """Annotates `str | int` as a Kubernetes quantity from `least` to `most`: a rule of the CRD, and the same for specs
    that no API server has seen. `message` says so, as `must be ...`."""

    least: str
    most: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        low, high = quantity(self.least), quantity(self.most)
        # To Kubernetes 1.31 such a text is 3 MiB long whatever its maxLength, and a CRD whose functions would read too
        # much of that is refused: so few of them read it, and a map of quantities is short.
        not_less = f"quantity(self).compareTo(quantity('{self.least}')) >= 0" if low else "!self.startsWith('-')"
        expression = (
            f"type(self) == int ? self >= {math.ceil(low)} && self <= {min(int(high), 2**63 - 1)}"
            f" : isQuantity(self) && {not_less} && quantity(self).compareTo(quantity('{self.most}')) <= 0"
        )
        return {"x-kubernetes-int-or-string": True, "maxLength": 32} | rules(rule(expression, self.message))

    def _check(self, value: str | int) -> str | int:
        try:
            within = quantity(self.least) <= quantity(value) <= quantity(self.most)
        except ValueError:
            within = False
        if not within:
            raise ValueError(self.message)
        return value


# The bounds are far beyond any cluster: a number from outside must not become one that is dear to count with.
Quantity = Annotated[
    str | int, QuantityRange("1n", "1Pi", "must be a quantity greater than 0 and at most 1Pi, like 40Gi")
]
ResourceQuantity = Annotated[
    str | int, QuantityRange("0", "1Pi", "must be a quantity from 0 to 1Pi, like 4, 500m or 16Gi")
]
"""Requests may be 0."""
ResourceMap = Annotated[dict[Annotated[str, StringConstraints(max_length=317)], ResourceQuantity], Field(max_length=10)]
Capacity = Annotated[str | int, QuantityRange("0", "8Ei", "must be a quantity, like 40Gi")]
"""What Kubernetes says of a volume; its own largest quantity is 2^63 - 1, which is a little less."""

PASSED_ON = "x-kubernetes-preserve-unknown-fields"


class SecretRef(ApiModel):
    """A Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""


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

"""pydantic models -> structural OpenAPI schemas as CustomResourceDefinitions need them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema as cs

_RULES = "x-kubernetes-validations"


class _Structural(GenerateJsonSchema):
    """What pydantic says in JSON Schema's newer words, said in those of Kubernetes' structural schemas."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: cs.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # `X | None` is an optional X, not a nullable one

    def int_schema(self, schema: cs.IntSchema) -> JsonSchemaValue:
        # int32 and int64 alike: a larger number is refused by `maximum`, which every integer here has.
        return super().int_schema(schema) | {"format": "int64"}

    def default_schema(self, schema: cs.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if not isinstance(result.get("default"), str | int):
            result.pop("default", None)  # absent and empty mean the same; json_schema_extra asks for `default: {}`
        return result

    def literal_schema(self, schema: cs.LiteralSchema) -> JsonSchemaValue:
        values = list(schema["expected"])
        return {"type": "string", "enum": values} if all(isinstance(it, str) for it in values) else {"enum": values}


def structural_schema(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """The schema of `model` with every `$ref` inlined; titles and the bounds of map keys are dropped.

    Raises TypeError for a recursive model.
    """
    root = model.model_json_schema(by_alias=True, schema_generator=_Structural, mode=mode)
    definitions = root.pop("$defs", {})

    def inline(node: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [inline(item, inside) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[-1]
            if name in inside:
                raise TypeError(f"{name} is recursive: a structural schema cannot hold it")
            # The field's own words (description, default) win over those of the class; rules of both hold.
            own, shared = {k: v for k, v in node.items() if k != "$ref"}, definitions[name]
            node = shared | own
            if _RULES in shared and _RULES in own:
                node[_RULES] = [*shared[_RULES], *own[_RULES]]
            inside = (*inside, name)
        return {
            # Under `properties` the keys are field names, and a field may well be called "title".
            k: ({name: inline(field, inside) for name, field in v.items()} if k == "properties" else inline(v, inside))
            for k, v in node.items()
            if k not in ("title", "propertyNames")
        }

    schema: dict[str, Any] = inline(root, ())
    return schema

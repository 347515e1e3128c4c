"""Reading custom resources from files, as strictly as `kubectl apply` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.crd import crds
from qwen3_operator.api.deployment import Qwen3Deployment, Qwen3DeploymentSpec


class BadInput(Exception):
    """What was given cannot be used; the message says where and why."""


def read_deployments(path: str) -> list[tuple[dict[str, Any], Qwen3DeploymentSpec]]:
    """Every Qwen3Deployment of a YAML file (`-`: standard input), with its parsed spec. Raises BadInput."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        documents = [d for d in yaml.safe_load_all(text) if d]
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: no YAML: {error}") from error
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == Qwen3Deployment.KIND]
    if not found:
        raise BadInput(f"{path}: holds no {Qwen3Deployment.KIND}")
    return [(document, _parse(path, document)) for document in found]


def _parse(path: str, document: dict[str, Any]) -> Qwen3DeploymentSpec:
    name = (document.get("metadata") or {}).get("name") or "without a name"
    where = f"{path}: {Qwen3Deployment.KIND} {name}"
    if document.get("apiVersion") != API_VERSION:
        raise BadInput(f"{where}: apiVersion is {document.get('apiVersion')}, not {API_VERSION}")
    unknown = list(_unknown_fields(document.get("spec") or {}, _schema()["properties"]["spec"], "spec"))
    if unknown:
        raise BadInput(f"{where}: unknown field {', '.join(unknown)}")
    try:
        return Qwen3DeploymentSpec.model_validate(document.get("spec") or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{where}: spec.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _schema() -> dict[str, Any]:
    crd = next(c for c in crds() if c["spec"]["names"]["kind"] == Qwen3Deployment.KIND)
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _unknown_fields(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _unknown_fields(item, schema["items"], f"{path}[{index}]")
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            if key in schema["properties"]:
                yield from _unknown_fields(item, schema["properties"][key], f"{path}.{key}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{key}"

"""Reading custom resources from files, as strictly as `kubectl apply` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.batch import Qwen3Batch, Qwen3BatchSpec
from qwen3_operator.api.crd import crds
from qwen3_operator.api.deployment import GPU_OWNED, Gpu, Qwen3Deployment, Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.api.patch import IS_TEXT
from qwen3_operator.api.source import ModelSource
from qwen3_operator.commands.rules import broken_rules
from qwen3_operator.plan.batch import as_server

Spec = Qwen3DeploymentSpec | Qwen3BatchSpec | Qwen3ModelSpec
SPECS: Mapping[str, type[Spec]] = {
    Qwen3Deployment.KIND: Qwen3DeploymentSpec,
    Qwen3Batch.KIND: Qwen3BatchSpec,
    Qwen3Model.KIND: Qwen3ModelSpec,
}
"""The kinds that are read, and their specs."""


class BadInput(Exception):
    """What was given cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Resource:
    """A Qwen3Deployment or a Qwen3Batch of a file."""

    meta: dict[str, Any]
    """Its metadata, with a namespace in any case."""
    server: Qwen3DeploymentSpec
    """Its spec; of a Qwen3Batch, the server that has its model and engine. A modelRef is replaced by what it names."""
    batch: Qwen3BatchSpec | None = None
    """The spec of a Qwen3Batch."""
    made_ahead: str | None = None
    """Name of the Qwen3Model of the file that it refers to."""

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{Qwen3Batch.KIND if self.batch else Qwen3Deployment.KIND} {self.meta['name']}"


@dataclass(frozen=True)
class Model:
    """A Qwen3Model of a file."""

    meta: dict[str, Any]
    """Its metadata, with a namespace in any case."""
    spec: Qwen3ModelSpec


@dataclass(frozen=True)
class Resources:
    """What a file holds, in its order."""

    models: list[Model]
    users: list[Resource]


def read_resources(path: str, namespace: str) -> Resources:
    """Every custom resource of a YAML file (`-`: standard input). Raises BadInput.

    `namespace`: of those that name none.
    """
    documents = [d for d in _documents(path) if isinstance(d, dict) and str(d.get("kind")) in SPECS]
    if not documents:
        raise BadInput(f"{path}: holds no {', no '.join(SPECS)}")
    found = [(w := _where(path, document), _meta(w, document, namespace), _spec(w, document)) for document in documents]
    models = [Model(meta, spec) for _, meta, spec in found if isinstance(spec, Qwen3ModelSpec)]
    by_name = {_key(model.meta): model.spec for model in models}
    servers = {
        _key(meta): _resolved(where, meta, spec, by_name)
        for where, meta, spec in found
        if isinstance(spec, Qwen3DeploymentSpec)
    }
    users = []
    for where, meta, spec in found:
        if isinstance(spec, Qwen3DeploymentSpec):
            users.append(servers[_key(meta)])
        elif isinstance(spec, Qwen3BatchSpec):
            lender = _lender(where, meta, spec, servers)
            server = as_server(spec, lender.server if lender else None)
            users.append(Resource(meta, server, spec, lender.made_ahead if lender else None))
    return Resources(models, users)


def _documents(path: str) -> list[Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return list(yaml.safe_load_all(text))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: no YAML: {error}") from error


def _where(path: str, document: Mapping[str, Any]) -> str:
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    return f"{path}: {document['kind']} {name or 'without a name'}"


def _meta(where: str, document: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    meta = document.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
        raise BadInput(f"{where}: metadata.name: give one")
    return meta | {"namespace": meta.get("namespace") or namespace}


def _spec(where: str, document: Mapping[str, Any]) -> Spec:
    kind, given = document["kind"], document.get("spec") or {}
    if document.get("apiVersion") != API_VERSION:
        raise BadInput(f"{where}: apiVersion is {document.get('apiVersion')}, not {API_VERSION}")
    unknown = list(_unknown_fields(given, _schema(kind)["properties"]["spec"], "spec"))
    if unknown:
        raise BadInput(f"{where}: unknown field {', '.join(unknown)}")
    try:
        spec = SPECS[kind].model_validate(given, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{where}: {'.'.join(map(str, ('spec', *first['loc'])))}: {words}") from error
    if broken := [*broken_rules(document, _schema(kind)), *_broken_rules(spec)]:
        raise BadInput(f"{where}: {'; '.join(broken)}")
    return spec


@cache
def _schema(kind: str) -> dict[str, Any]:
    crd = next(c for c in crds() if c["spec"]["names"]["kind"] == kind)
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


def _broken_rules(spec: Spec) -> Iterator[str]:
    """What the CRD's rules between fields refuse: the path, and the rule's own words."""
    if isinstance(spec, Qwen3ModelSpec):
        return
    if isinstance(spec.pod_template_patch, dict) and spec.pod_template_patch:
        yield f"spec.podTemplatePatch: {IS_TEXT}"
    gpu, resources = spec.gpu or Gpu(), spec.resources
    if resources and gpu.resource_name in (resources.requests | resources.limits):
        yield f"spec: {GPU_OWNED}"
    if isinstance(spec, Qwen3DeploymentSpec):
        if (spec.model is None) == (spec.model_ref is None):
            yield "spec: give either model or modelRef"
        return
    if (spec.model is None) == (spec.deployment_ref is None):
        yield "spec: give either model or deploymentRef"
    if spec.deployment_ref and spec.engine:
        yield "spec: deploymentRef excludes engine: it is that of the Qwen3Deployment"
    if spec.parallelism > spec.completions:
        yield "spec: parallelism must be at most completions"
    if spec.target == "Running" and (spec.deployment_ref is None or spec.gpu is not None or spec.completions > 1):
        yield "spec: target Running needs deploymentRef, and has neither gpu nor completions"
    if spec.target != "Running" and spec.concurrency is not None:
        yield "spec: concurrency is for target Running"
    sources = (spec.input.config_map_key_ref, spec.input.claim, spec.input.prompts)
    if len([source for source in sources if source is not None]) != 1:
        yield "spec.input: give one of configMapKeyRef, claim and prompts"


def _key(meta: Mapping[str, Any]) -> tuple[str, str]:
    return meta["namespace"], meta["name"]


def _resolved(
    where: str, meta: dict[str, Any], spec: Qwen3DeploymentSpec, models: Mapping[tuple[str, str], Qwen3ModelSpec]
) -> Resource:
    """A Qwen3Deployment with the checkpoint that its modelRef stands for. Raises BadInput."""
    if spec.model_ref is None:
        return Resource(meta, spec)
    name = spec.model_ref.name
    if (model := models.get((meta["namespace"], name))) is None:
        words = f"{Qwen3Model.KIND} {name} of namespace {meta['namespace']} is not in the file"
        raise BadInput(
            f"{where}: spec.modelRef.name: {words}: put it in the same file, or name its model as spec.model"
        )
    source = ModelSource.model_validate({field: getattr(model, field) for field in ModelSource.model_fields})
    return Resource(meta, spec.model_copy(update={"model": source}), made_ahead=name)


def _lender(
    where: str, meta: Mapping[str, Any], spec: Qwen3BatchSpec, servers: Mapping[tuple[str, str], Resource]
) -> Resource | None:
    """The Qwen3Deployment that deploymentRef names, None where it names none. Raises BadInput."""
    if spec.deployment_ref is None:
        return None
    name = spec.deployment_ref.name
    if (found := servers.get((meta["namespace"], name))) is None:
        words = f"{Qwen3Deployment.KIND} {name} of namespace {meta['namespace']} is not in the file"
        raise BadInput(f"{where}: spec.deploymentRef.name: {words}: put it in the same file, or name the model here")
    return found

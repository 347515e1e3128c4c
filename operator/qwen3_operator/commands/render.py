"""`qwen3-operator render`: every object that the operator would make, without a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.controller.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    HTTP_ROUTES,
    INFERENCE_POOLS,
    JOBS,
    SCALED_OBJECTS,
    SERVICES,
    Kind,
)
from qwen3_operator.desired.adapters import adapters_config_map
from qwen3_operator.desired.autoscaling import scaled_object, servers_wanted
from qwen3_operator.desired.batch import batch_job
from qwen3_operator.desired.batch_config import batch_config_map
from qwen3_operator.desired.claim import claim_size, model_claim
from qwen3_operator.desired.compile_cache import cache_claim
from qwen3_operator.desired.disruption import disruption_budget, wants_budget
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.desired.in_engine import config_map_name, in_engine_config_map
from qwen3_operator.desired.inference_pool import inference_pool
from qwen3_operator.desired.keys import limits_config_map
from qwen3_operator.desired.made_from import MadeFrom, inputs_of
from qwen3_operator.desired.model import adapter_model, adapter_source, shared_model
from qwen3_operator.desired.route import http_route
from qwen3_operator.desired.server import server_deployment, server_template
from qwen3_operator.desired.service import server_service
from qwen3_operator.engine.lora import lora_in
from qwen3_operator.naming import QWEN3_MODELS, adapter_model_name, model_name, model_path
from qwen3_operator.plan import Plan, Weights
from qwen3_operator.plan.batch import BatchPlan
from qwen3_operator.settings import Settings

UID = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the API server gives the owner."""


def shared_model_manifests(namespace: str, server: Qwen3DeploymentSpec, settings: Settings) -> list[dict[str, Any]]:
    """The Qwen3Model that `server` shares with others, and its objects, in the order in which they come into being."""
    model = shared_model(namespace, model_name(server.source), server)
    spec = Qwen3ModelSpec.model_validate(model["spec"])
    return [*_typed([(QWEN3_MODELS, model)]), *model_manifests(namespace, model["metadata"]["name"], spec, settings)]


def model_manifests(namespace: str, name: str, spec: Qwen3ModelSpec, settings: Settings) -> list[dict[str, Any]]:
    """The objects of one Qwen3Model alone."""
    found: list[tuple[Kind, dict[str, Any]]] = []
    if not spec.storage.existing_claim and not spec.adapter_of:
        retention = spec.storage.retention_policy or "Retain"
        found.append((CLAIMS, model_claim(namespace, name, UID, spec, claim_size(spec, None), retention)))
    step = Step.CHECK if spec.storage.existing_claim else Step.DOWNLOAD
    found.append((JOBS, model_job(namespace, name, UID, spec, settings, step)))
    return _typed(found)


def server_manifests(
    namespace: str, name: str, spec: Qwen3DeploymentSpec, plan: Plan, settings: Settings
) -> list[dict[str, Any]]:
    """The objects of one Qwen3Deployment alone. Raises PatchError."""
    found: list[tuple[Kind, dict[str, Any]]] = [(SERVICES, server_service(namespace, name, UID, spec))]
    if gateway := spec.service.gateway:
        picker = gateway.endpoint_picker
        found += [(INFERENCE_POOLS, inference_pool(namespace, name, UID, picker))] if picker else []
        route = http_route(namespace, name, UID, spec.service.port, gateway, picked=picker is not None)
        found.append((HTTP_ROUTES, route))
    if spec.engine.compile_cache and spec.engine.compile_cache.enabled:
        found.append((CLAIMS, cache_claim(namespace, name, UID, spec.engine.compile_cache)))
    if plan.server:
        found.append((CONFIG_MAPS, in_engine_config_map(namespace, name, UID, config_map_name(name))))
    if spec.auth and spec.auth.keys:
        found.append((CONFIG_MAPS, limits_config_map(namespace, name, UID, spec.auth.limits)))
    if wants_budget(spec):
        found.append((DISRUPTION_BUDGETS, disruption_budget(namespace, name, UID)))
    lora = lora_in(plan.command)
    if lora is not None:
        found += _adapters(namespace, name, spec, settings)
    weights = Weights(plan.claim, model_path(spec.source), lora=lora)
    made = MadeFrom(inputs_of(spec, weights, ""), plan, server_template(name, spec, plan, settings))
    replicas = servers_wanted(spec, None)
    found.append((DEPLOYMENTS, server_deployment(namespace, name, UID, replicas, made, spec.rollout)))
    scales = spec.autoscaling and not spec.suspend and not spec.autoscaling.target.auto  # that waits for a measurement
    if spec.autoscaling and scales and (prometheus := settings.prometheus_address):
        sources = {"prometheus": prometheus, "front": settings.front_service}
        scaler = scaled_object(namespace, name, UID, spec.autoscaling, command=plan.command, **sources)
        found.append((SCALED_OBJECTS, scaler))
    return _typed(found)


def _adapters(
    namespace: str, name: str, spec: Qwen3DeploymentSpec, settings: Settings
) -> Iterator[tuple[Kind, dict[str, Any]]]:
    """The Qwen3Models of LoRA adapters with their Jobs, and the list once all of them are there."""
    base, paths = spec.model_ref.name if spec.model_ref else model_name(spec.source), {}
    for adapter in spec.engine.lora_adapters:
        source = adapter_source(spec, adapter)
        called = adapter_model_name(source, base)
        model = adapter_model(namespace, called, source, base, spec.scheduling.pod_fields(server=False))
        theirs = Qwen3ModelSpec.model_validate(model["spec"])
        paths[adapter.name] = model_path(theirs)
        yield QWEN3_MODELS, model
        yield JOBS, model_job(namespace, called, UID, theirs, settings, Step.DOWNLOAD)
    yield CONFIG_MAPS, adapters_config_map(namespace, name, UID, paths)


def batch_manifests(
    meta: Mapping[str, Any], spec: Qwen3BatchSpec, server: Qwen3DeploymentSpec, plan: BatchPlan, settings: Settings
) -> list[dict[str, Any]]:
    """The objects of the Qwen3Batch with metadata `meta` alone. Raises PatchError."""
    config_map = batch_config_map(meta["namespace"], meta["name"], UID, spec, plan.runner)
    job = batch_job({**meta, "uid": UID}, spec, server, plan, config_map["metadata"]["name"], settings)
    return _typed([(CONFIG_MAPS, config_map), (JOBS, job)])


def _typed(found: Iterable[tuple[Kind, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"apiVersion": kind.api_version, "kind": kind.kind, **manifest} for kind, manifest in found]

"""`qwen3-operator render`: every object that the operator would make, without a cluster."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.desired.claim import claim_size, model_claim
from qwen3_operator.desired.compile_cache import cache_claim
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.desired.middleware import middleware_config_map
from qwen3_operator.desired.model import shared_model
from qwen3_operator.desired.server import server_deployment
from qwen3_operator.desired.service import server_service
from qwen3_operator.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, JOBS, SERVICES, Kind
from qwen3_operator.naming import MIDDLEWARE, QWEN3_MODELS
from qwen3_operator.plan import Plan
from qwen3_operator.settings import Settings

UID = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the API server gives the owner."""


def manifests(
    namespace: str, name: str, spec: Qwen3DeploymentSpec, plan: Plan, settings: Settings
) -> list[dict[str, Any]]:
    """The objects for one Qwen3Deployment, in the order in which they come into being."""
    model = shared_model(namespace, spec)
    model_name = model["metadata"]["name"]
    model_spec = Qwen3ModelSpec.model_validate(model["spec"])
    found: list[tuple[Kind, dict[str, Any]]] = [(QWEN3_MODELS, model)]
    if not model_spec.storage.existing_claim:
        claim = model_claim(namespace, model_name, UID, model_spec, claim_size(model_spec, None))
        found.append((CLAIMS, claim))
    step = Step.CHECK if model_spec.storage.existing_claim else Step.DOWNLOAD
    found.append((JOBS, model_job(namespace, model_name, UID, model_spec, settings, step)))
    found.append((SERVICES, server_service(namespace, name, UID, spec)))
    if spec.engine.compile_cache and spec.engine.compile_cache.enabled:
        found.append((CLAIMS, cache_claim(namespace, name, UID, spec.engine.compile_cache)))
    if MIDDLEWARE in plan.command:
        found.append((CONFIG_MAPS, middleware_config_map(namespace, name, UID)))
    found.append((DEPLOYMENTS, server_deployment(namespace, name, UID, spec, plan, settings)))
    return [{"apiVersion": kind.api_version, "kind": kind.kind, **manifest} for kind, manifest in found]

"""Which models and folders pods run on, by what they mount."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qwen3_operator.controller.cluster import Object
from qwen3_operator.naming import MODELS_DIR, claim_name, model_path
from qwen3_operator.status.model_ready import source_of

PodSpec = Mapping[str, Any]


def models_in_use(models: Iterable[Object], pods: Iterable[PodSpec]) -> set[str]:
    """Names of the Qwen3Models whose copy one of the PodSpecs mounts."""
    pods = list(pods)
    return {model["metadata"]["name"] for model in models if any(_uses(pod, model) for pod in pods)}


def may_use_another(pod: PodSpec, claim: str, path: str) -> bool:
    """Whether a PodSpec mounts the claim without naming the folder."""
    return mounts(pod, claim) and not _names(pod, path)


def mounts(pod: PodSpec, claim: str) -> bool:
    """Whether a PodSpec mounts the claim."""
    return claim in claims_of(pod)


def claims_of(pod: PodSpec) -> list[str]:
    """Names of the claims that a PodSpec mounts."""
    claims = [volume.get("persistentVolumeClaim") for volume in pod.get("volumes") or ()]
    return [str(claim.get("claimName", "")) for claim in claims if claim]


def _uses(pod: PodSpec, model: Object) -> bool:
    if (model.get("spec") or {}).get("adapterOf"):
        return False  # its files go with the claim of the model, and a server reads from a list which it has
    source = source_of(model)
    if source is None:
        return True  # as far as anybody knows
    if not mounts(pod, claim_name(model["metadata"]["name"], source)):
        return False
    if source.storage.existing_claim is None:  # the claim is the model's alone
        return True
    return _names(pod, model_path(source))


def _names(pod: PodSpec, path: str) -> bool:
    return f"{MODELS_DIR}/{path}" in json.dumps(pod.get("containers"))

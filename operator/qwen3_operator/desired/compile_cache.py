"""The PersistentVolumeClaim that keeps what torch.compile made."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.api.engine import CompileCache
from qwen3_operator.naming import owner_reference, server_labels


def cache_claim_name(name: str) -> str:
    """Claim of the Qwen3Deployment `name`."""
    return f"{name}-compile-cache"


def cache_claim(namespace: str, name: str, uid: str, cache: CompileCache) -> dict[str, Any]:
    """The claim; it goes with the Qwen3Deployment, since it can be made again."""
    spec: dict[str, Any] = {
        "accessModes": [cache.access_mode],
        "resources": {"requests": {"storage": str(cache.size)}},
    }
    if cache.storage_class_name:
        spec["storageClassName"] = cache.storage_class_name
    return {
        "metadata": {
            "namespace": namespace,
            "name": cache_claim_name(name),
            "labels": server_labels(name),
            "ownerReferences": [owner_reference(Qwen3Deployment.KIND, API_VERSION, name, uid, controller=True)],
        },
        "spec": spec,
    }

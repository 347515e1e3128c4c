"""The PersistentVolumeClaim that keeps a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.catalog import lookup
from qwen3_operator.engine.host import volume_bytes
from qwen3_operator.naming import model_labels, owner_reference
from qwen3_operator.quantity import gibibytes, quantity

UNKNOWN_SIZE = "50Gi"
"""Of a model that the catalogue does not know."""


def model_claim(namespace: str, name: str, uid: str, spec: Qwen3ModelSpec, size: str) -> dict[str, Any]:
    """The claim of the Qwen3Model `name`. Under Retain it has no owner and outlives the model; under Delete it goes
    with the model and with the last Qwen3Deployment that uses it, whichever is later."""
    storage = spec.storage
    meta: dict[str, Any] = {"namespace": namespace, "name": name, "labels": model_labels(name)}
    if storage.retention_policy == "Delete":
        meta["ownerReferences"] = [owner_reference(Qwen3Model.KIND, API_VERSION, name, uid, controller=False)]
    claim_spec: dict[str, Any] = {
        "accessModes": [storage.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage.storage_class_name:
        claim_spec["storageClassName"] = storage.storage_class_name
    return {"metadata": meta, "spec": claim_spec}


def claim_size(spec: Qwen3ModelSpec, live: Mapping[str, Any] | None) -> str:
    """What the claim asks for: as told, or the catalogue's size with head-room; never less than it has."""
    wanted = str(spec.storage.size) if spec.storage.size is not None else _default_size(spec.id)
    has = ((live or {}).get("spec", {}).get("resources") or {}).get("requests", {}).get("storage")
    return str(has) if has and quantity(has) >= quantity(wanted) else wanted


def _default_size(model_id: str) -> str:
    entry = lookup(model_id)
    if entry is None or not entry.weights_bytes:
        return UNKNOWN_SIZE
    return gibibytes(volume_bytes(entry.weights_bytes))

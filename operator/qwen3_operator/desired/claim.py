"""The PersistentVolumeClaim that keeps a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.catalog import lookup
from qwen3_operator.controller.quantity import gibibytes, quantity
from qwen3_operator.engine.host import volume_bytes
from qwen3_operator.naming import INSTANCE, model_labels, owner_reference

Object = Mapping[str, Any]

UNKNOWN_SIZE = "50Gi"
"""Of a model whose size is not known, and which has no claim yet."""


def model_claim(namespace: str, name: str, uid: str, spec: Qwen3ModelSpec, size: str, retention: str) -> dict[str, Any]:
    """The claim of the Qwen3Model `name`. `retention`: what the model and all its users say together.

    Under Retain it has no owner and outlives the model; under Delete it goes with the model and with the last user,
    whichever is later."""
    storage = spec.storage
    # Argo CD can be set to track its own objects by this label: without an owner, the claim would be pruned by an
    # Application that is called as the model is.
    labels = {key: value for key, value in model_labels(name).items() if key != INSTANCE}
    meta: dict[str, Any] = {"namespace": namespace, "name": name, "labels": labels}
    if retention == "Delete":
        meta["ownerReferences"] = [owner_reference(Qwen3Model.KIND, API_VERSION, name, uid, controller=False)]
    claim_spec: dict[str, Any] = {
        "accessModes": [storage.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage.storage_class_name:
        claim_spec["storageClassName"] = storage.storage_class_name
    return {"metadata": meta, "spec": claim_spec}


def claim_size(
    spec: Qwen3ModelSpec, live: Object | None, *, repository_bytes: int | None = None, needed_bytes: int | None = None
) -> str:
    """What the claim asks for; never less than it has, and no more before it is bound, which Kubernetes would refuse.

    The user's size where one is given; else what the model needs, with head-room: by the catalogue, or by
    `repository_bytes` where the hub was asked, and at least for a volume of `needed_bytes`, what a download that found
    too little room said would be enough.
    """
    has = requested(live)
    if has and not is_bound(live):
        return has
    if spec.storage.size is not None:
        sizes = [str(spec.storage.size)]
    else:
        known = [_catalogue_bytes(spec.id) or repository_bytes, needed_bytes]
        sizes = [gibibytes(volume_bytes(it)) for it in known if it]
    return max([*([has] if has else []), *sizes], key=quantity, default=UNKNOWN_SIZE)


def size_is_known(spec: Qwen3ModelSpec, live: Object | None) -> bool:
    """Whether the claim's size is known without asking the hub."""
    return live is not None or spec.storage.size is not None or _catalogue_bytes(spec.id) is not None


def requested(live: Object | None) -> str:
    """The size that a claim asks for; empty where there is no claim."""
    return str(((live or {}).get("spec", {}).get("resources") or {}).get("requests", {}).get("storage") or "")


def is_bound(live: Object | None) -> bool:
    """Whether a claim has its volume."""
    return bool((live or {}).get("status", {}).get("phase") == "Bound")


def _catalogue_bytes(model_id: str) -> int | None:
    entry = lookup(model_id)
    return entry.weights_bytes if entry is not None and entry.weights_bytes else None

"""Names and labels of everything the operator makes. Pure; a name never changes meaning between releases."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from qwen3_operator.api import API_VERSION, GROUP
from qwen3_operator.api.batch import Qwen3Batch
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.api.source import DEFAULT_ACCESS_MODE, ModelSource
from qwen3_operator.controller.kinds import Kind

QWEN3_DEPLOYMENTS = Kind(API_VERSION, Qwen3Deployment.KIND, Qwen3Deployment.PLURAL)
QWEN3_BATCHES = Kind(API_VERSION, Qwen3Batch.KIND, Qwen3Batch.PLURAL)
QWEN3_MODELS = Kind(API_VERSION, Qwen3Model.KIND, Qwen3Model.PLURAL)

MANAGER = "qwen3-operator"
"""Field manager of every apply, and the value of the managed-by label. Never to be changed."""

PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
DEPLOYMENT_LABEL = f"{GROUP}/deployment"
MODEL_LABEL = f"{GROUP}/model"
BATCH_LABEL = f"{GROUP}/batch"
APPLIED_HASH = f"{GROUP}/applied-hash"
"""Annotation of a child: hash of what was applied, so that an unchanged child costs no write."""

MODELS_DIR = "/models"
"""Where the volume with the weights is mounted, in Job and servers alike."""
CA_DIR = "/etc/qwen3/ca"
CA_FILE = "ca.crt"
TEMPLATE_DIR = "/etc/qwen3/chat-template"
TEMPLATE_FILE = "template.jinja"
BATCH_DIR = "/etc/qwen3/batch"
"""Where a batch's pods find the runner and its configuration."""
BATCH_INPUT_DIR, BATCH_OUTPUT_DIR = "/batch/input", "/batch/output"

MIDDLEWARE = "qwen3_in_engine.server.loader.Middleware"
"""Import path of the middleware behind engine.reasoningContentField."""

SERVER = "server"
BATCH = "batch"
DOWNLOAD = "download"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Label selector of every child."""


def digest(value: Any, length: int = 8) -> str:
    """A short hash of JSON-like `value`, the same in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def slug(text: str, limit: int) -> str:
    """`text` as part of an object's name: lower-case letters, digits and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-")


def model_name(source: ModelSource, hub: str = "") -> str:
    """Name of the Qwen3Model for `source`: the same for all who name the same id, revision and storage.

    `hub`: base URL of the hub where that is not the operator's own.
    """
    source = source.normal()
    storage = source.storage
    claim = storage.existing_claim
    identity: list[Any] = [
        source.id,
        source.revision,
        storage.storage_class_name,
        storage.access_mode or DEFAULT_ACCESS_MODE,
        [claim.name, claim.path] if claim else None,
        *_patterns(source),
        *([{"hub": hub}] if hub else []),
    ]
    return f"{slug(source.id.split('/')[-1], 36)}-{digest(identity)}"


def adapter_model_name(source: ModelSource, base: str, hub: str = "") -> str:
    """Name of the Qwen3Model of a LoRA adapter that lies beside the Qwen3Model `base`. `hub`: as for `model_name`."""
    identity = [source.id, source.revision, {"adapterOf": base}, *([{"hub": hub}] if hub else [])]
    return f"{slug(source.id.split('/')[-1], 36)}-{digest(identity)}"


def model_path(source: ModelSource) -> str:
    """Folder of the checkpoint, or of an adapter, inside the volume."""
    if claim := source.normal().storage.existing_claim:
        return claim.path
    adapter = ["adapter"] if isinstance(source, Qwen3ModelSpec) and source.adapter_of else []
    return f"{source.id.split('/')[-1]}-{digest([source.id, source.revision, *_patterns(source), *adapter], 6)}"


def _patterns(source: ModelSource) -> list[list[str]]:
    """Patterns choose the files of a copy, so they are part of its name. Without patterns nothing is added: names that
    were made before this field existed stay the same."""
    options = source.normal().download
    allow, ignore = options.allow_patterns, options.ignore_patterns
    return [allow, ignore] if allow or ignore else []


def claim_name(model: str, source: ModelSource) -> str:
    """PersistentVolumeClaim of the Qwen3Model called `model`; an adapter's is that of the model that it is for."""
    if isinstance(source, Qwen3ModelSpec) and source.adapter_of is not None:
        return source.adapter_of.name
    return source.storage.existing_claim.name if source.storage.existing_claim else model


def claim_is_others(source: ModelSource) -> bool:
    """Whether the claim was there before, with its files."""
    return source.storage.existing_claim is not None


def file_on_claim(claim: str | None, path: str | None) -> tuple[str, str]:
    """A file on a claim, or a folder, whatever the way of writing its path."""
    return claim or "", "/".join(part for part in (path or "").split("/") if part not in ("", "."))


def model_labels(model: str) -> dict[str, str]:
    """Labels of what belongs to a Qwen3Model."""
    return {
        "app.kubernetes.io/name": "qwen3-model",
        INSTANCE: model,
        COMPONENT: DOWNLOAD,
        PART_OF: MANAGER,
        MANAGED_BY: MANAGER,
        MODEL_LABEL: model,
    }


def server_labels(name: str) -> dict[str, str]:
    """Labels of what belongs to a Qwen3Deployment."""
    return {
        "app.kubernetes.io/name": "vllm",
        INSTANCE: name,
        COMPONENT: SERVER,
        PART_OF: MANAGER,
        MANAGED_BY: MANAGER,
        DEPLOYMENT_LABEL: name,
    }


def batch_labels(name: str) -> dict[str, str]:
    """Labels of what belongs to a Qwen3Batch."""
    return {
        "app.kubernetes.io/name": "qwen3-batch",
        INSTANCE: name,
        COMPONENT: BATCH,
        PART_OF: MANAGER,
        MANAGED_BY: MANAGER,
        BATCH_LABEL: name,
    }


def server_selector(name: str) -> dict[str, str]:
    """The labels, never changed, by which Deployment and Service find the servers."""
    return {DEPLOYMENT_LABEL: name, COMPONENT: SERVER}


def owner_reference(kind: str, api_version: str, name: str, uid: str, *, controller: bool) -> dict[str, Any]:
    """An ownerReference; plain ones (`controller=False`) may stand beside each other on a shared object."""
    reference: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}
    return reference | ({"controller": True, "blockOwnerDeletion": True} if controller else {})

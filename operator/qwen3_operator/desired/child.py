"""What every child of a Qwen3Deployment begins with."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.naming import owner_reference, server_labels


def child_metadata(namespace: str, name: str, uid: str, called: str = "") -> dict[str, Any]:
    """Metadata of an object that goes with the Qwen3Deployment `name`, and has its name unless it is `called`
    otherwise."""
    return {
        "namespace": namespace,
        "name": called or name,
        "labels": server_labels(name),
        "ownerReferences": [owner_reference(Qwen3Deployment.KIND, API_VERSION, name, uid, controller=True)],
    }

"""The Service in front of the servers."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3Deployment, Qwen3DeploymentSpec
from qwen3_operator.naming import owner_reference, server_labels, server_selector

PORT_NAME = "http"


def server_service(namespace: str, name: str, uid: str, spec: Qwen3DeploymentSpec) -> dict[str, Any]:
    """The Service of the Qwen3Deployment `name`."""
    meta: dict[str, Any] = {
        "namespace": namespace,
        "name": name,
        "labels": spec.service.labels | server_labels(name),
        "ownerReferences": [owner_reference(Qwen3Deployment.KIND, API_VERSION, name, uid, controller=True)],
    }
    if spec.service.annotations:
        meta["annotations"] = dict(spec.service.annotations)
    return {
        "metadata": meta,
        "spec": {
            "type": spec.service.type,
            "selector": server_selector(name),
            "ports": [
                {"name": PORT_NAME, "port": spec.service.port, "targetPort": PORT_NAME, "protocol": "TCP"},
            ],
        },
    }

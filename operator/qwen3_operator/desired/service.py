"""The Service in front of the servers."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import server_selector

PORT_NAME = "http"


def server_service(namespace: str, name: str, uid: str, spec: Qwen3DeploymentSpec) -> dict[str, Any]:
    """The Service of the Qwen3Deployment `name`."""
    meta = child_metadata(namespace, name, uid)
    meta["labels"] = spec.service.labels | meta["labels"]
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

"""The ConfigMap that carries our ASGI middleware into vLLM's image."""

from __future__ import annotations

from importlib import resources
from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.naming import digest, owner_reference, server_labels

MODULE = "reasoning_content"
MIDDLEWARE_DIR = "/etc/qwen3/middleware"


def source() -> str:
    """The middleware's source text."""
    return resources.files("qwen3_in_engine").joinpath(f"{MODULE}.py").read_text(encoding="utf-8")


def middleware_config_map(namespace: str, name: str, uid: str) -> dict[str, Any]:
    """The ConfigMap. Its name holds a hash of the source: servers that run keep the one that they were started with."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": config_map_name(name),
            "labels": server_labels(name),
            "ownerReferences": [owner_reference(Qwen3Deployment.KIND, API_VERSION, name, uid, controller=True)],
        },
        "immutable": True,
        "data": {f"{MODULE}.py": source()},
    }


def config_map_name(name: str) -> str:
    """Name of the ConfigMap for the Qwen3Deployment `name`."""
    return f"{name}-middleware-{digest(source(), 6)}"

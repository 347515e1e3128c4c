"""The list of LoRA adapters that servers have: a ConfigMap that the kubelet keeps fresh in those that run.

The adapters themselves lie on the claim of their model, which is mounted whole: a new one needs no other pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3_in_engine.server.contract import ADAPTERS_VARIABLE
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import MODELS_DIR, digest

ADAPTERS_DIR, ADAPTERS_FILE = "/etc/qwen3/adapters", "adapters.json"
VOLUME = "adapters"


def adapters_name(name: str) -> str:
    """Name of the ConfigMap with the list for the Qwen3Deployment `name`."""
    return f"{name}-adapters"


def adapters_config_map(namespace: str, name: str, uid: str, paths: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap. `paths`: name of each adapter -> folder inside the volume of the model."""
    return {
        "metadata": child_metadata(namespace, name, uid, adapters_name(name)),
        "data": {ADAPTERS_FILE: _text(paths)},
    }


def list_version(paths: Mapping[str, str]) -> str:
    """By which a server says which list it has read."""
    return digest(sorted(paths.items()), 12)


def paths_in(config_map: Mapping[str, Any] | None) -> dict[str, str]:
    """The list in a ConfigMap that there is; what cannot be read names none."""
    try:
        given = json.loads(((config_map or {}).get("data") or {})[ADAPTERS_FILE])
        return {str(it["name"]): str(it["path"]).removeprefix(f"{MODELS_DIR}/") for it in given["adapters"]}
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def volumes(name: str) -> list[dict[str, Any]]:
    """Of the pod."""
    return [{"name": VOLUME, "configMap": {"name": adapters_name(name)}}]


def mounts() -> list[dict[str, Any]]:
    """Of the container. As a folder: the kubelet never changes a file that is mounted by itself."""
    return [{"name": VOLUME, "mountPath": ADAPTERS_DIR, "readOnly": True}]


def variables() -> list[dict[str, Any]]:
    """Environment variable that says to the middleware where the list is."""
    return [{"name": ADAPTERS_VARIABLE, "value": f"{ADAPTERS_DIR}/{ADAPTERS_FILE}"}]


def _text(paths: Mapping[str, str]) -> str:
    adapters = [{"name": name, "path": f"{MODELS_DIR}/{path}"} for name, path in sorted(paths.items())]
    return json.dumps({"version": list_version(paths), "adapters": adapters}, sort_keys=True)

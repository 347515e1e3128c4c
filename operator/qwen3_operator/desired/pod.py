"""What every pod of ours has: it passes Pod Security `restricted`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def pod_security(user: int, group: int) -> dict[str, Any]:
    """The pod's security context. New files belong to `group`, so that Job and servers may read each other's."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def pull_secrets(names: Iterable[str]) -> dict[str, Any]:
    """imagePullSecrets of a PodSpec; nothing where there are none."""
    secrets = [{"name": name} for name in names]
    return {"imagePullSecrets": secrets} if secrets else {}


def secret_env(variable: str, name: str, key: str, *, optional: bool = False) -> dict[str, Any]:
    """An environment variable from a Secret. `optional`: unset where there is no such Secret or key."""
    reference: dict[str, Any] = {"name": name, "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}

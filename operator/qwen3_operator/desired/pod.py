"""What every pod of ours has: it passes Pod Security `restricted`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qwen3_operator.api.source import DownloadPod
from qwen3_operator.settings import Settings


def pod_security(user: int, group: int, settings: Settings, spec: DownloadPod | None = None) -> dict[str, Any]:
    """The pod's security context. New files belong to `group`, so that Job and servers may read each other's.

    Where the platform chooses ids (OpenShift: from the namespace's range), only those are named that `spec` names.
    """
    chosen = settings.pod_ids == "platform"
    said_user, said_group = (spec.run_as_user, spec.fs_group) if spec else (None, None)
    user_id, group_id = said_user or (None if chosen else user), said_group or (None if chosen else group)
    ids = {"runAsUser": user_id, "runAsGroup": group_id, "fsGroup": group_id}
    return {
        "runAsNonRoot": True,
        **{name: value for name, value in ids.items() if value is not None},
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def claim_volume(name: str, claim: str, *, read_only: bool = False) -> dict[str, Any]:
    """A volume of a PodSpec.

    `read_only`: as a volume, not only where it is mounted. Else the kubelet makes `fsGroup` the group of every file,
    which takes its time, and takes the files from whoever they belong to.
    """
    return {"name": name, "persistentVolumeClaim": {"claimName": claim} | ({"readOnly": True} if read_only else {})}


def pull_secrets(names: Iterable[str]) -> dict[str, Any]:
    """imagePullSecrets of a PodSpec; nothing where there are none."""
    secrets = [{"name": name} for name in names]
    return {"imagePullSecrets": secrets} if secrets else {}


def secret_env(variable: str, name: str, key: str, *, optional: bool = False) -> dict[str, Any]:
    """An environment variable from a Secret. `optional`: unset where there is no such Secret or key."""
    reference: dict[str, Any] = {"name": name, "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}

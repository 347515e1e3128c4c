"""What stands beside the operator in the demo: namespaces, the hub, and the volume with vLLM's CPU build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SYSTEM_NAMESPACE = "qwen3-demo-system"
NAMESPACE = "qwen3-demo"
HUB_NAMESPACE = "qwen3-demo-hub"
MARK = {"demo.qwen3.dev/made-by": "make-demo"}
"""Label of what the demo made: `make demo-down` deletes only that."""
MARK_SELECTOR = ",".join(f"{key}={value}" for key, value in MARK.items())
HUB_PORT = 8080
HUB_URL = f"http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}"
HUB_BYTES_PER_SECOND = 200_000
"""Slow enough that the download of 0.8 MB can be watched."""


def namespace(name: str) -> dict[str, Any]:
    """A namespace that takes only pods that pass Pod Security `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": MARK | labels}}


def hub(image: str) -> list[dict[str, Any]]:
    """The hub and its Service."""
    labels = {"app.kubernetes.io/name": "hub"}
    container = {
        "name": "hub",
        "image": image,
        "args": [f"--total-rate={HUB_BYTES_PER_SECOND}"],
        "ports": [{"name": "http", "containerPort": HUB_PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 2,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    meta = {"name": "hub", "namespace": HUB_NAMESPACE, "labels": labels}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": HUB_PORT, "targetPort": "http"}]},
        },
    ]


def volume_name(namespace: str) -> str:
    """Name of the volume with vLLM's CPU build in `namespace`."""
    return f"vllm-cpu-{namespace}"


def vllm_volume(namespace: str, folder: Path) -> list[dict[str, Any]]:
    """The claim `vllm-cpu` in `namespace`, bound to the folder of the nodes that holds vLLM's CPU build."""
    name = volume_name(namespace)
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeMode": "Filesystem"}
    linux = {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": MARK},
            "spec": {
                **common,
                "capacity": {"storage": "3Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": str(folder)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [linux]}},
                "claimRef": {"namespace": namespace, "name": "vllm-cpu"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "vllm-cpu", "namespace": namespace},
            "spec": {**common, "volumeName": name, "resources": {"requests": {"storage": "3Gi"}}},
        },
    ]

"""Simulated nodes with GPUs, and storage for them: manifests only, nothing runs."""

from __future__ import annotations

from typing import Any

from devcluster.spec import ClusterSpec

Manifest = dict[str, Any]
FAKE_NODE = "kwok.x-k8s.io/node"


def nodes(spec: ClusterSpec) -> list[Manifest]:
    """`spec.nodes` Nodes that kwok keeps Ready, labelled as NVIDIA's GPU feature discovery labels real ones."""
    return [_node(spec, index) for index in range(spec.nodes)]


def storage_classes(default: bool) -> list[Manifest]:
    """Two classes of volumes that the controller-manager itself provides: bound at once, or with the first pod.

    Both are growable: a kwok Stage (stages.py) plays the resizer. A claim that names the class `unavailable` waits
    for a provisioner that does not exist.
    """
    return [
        _storage_class("simulated", "kubernetes.io/host-path", "WaitForFirstConsumer", default),
        _storage_class("simulated-immediate", "kubernetes.io/host-path", "Immediate", False),
        _storage_class("unavailable", "devcluster.qwen3.dev/none", "Immediate", False),
    ]


def _node(spec: ClusterSpec, index: int) -> Manifest:
    name = f"sim-{index}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "type": "kwok",
    }
    resources = {"cpu": "128", "memory": "1024Gi", "ephemeral-storage": "4Ti", "pods": "250"}
    if spec.gpus_per_node:
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(spec.gpus_per_node),
            "nvidia.com/gpu.product": spec.gpu_product,
            "nvidia.com/gpu.memory": str(spec.gpu_memory_mib),
        }
        resources["nvidia.com/gpu"] = str(spec.gpus_per_node)
    # Beside a real node, nothing lands on a simulated one unless it says so.
    taints = [{"key": FAKE_NODE, "value": "fake", "effect": "NoSchedule"}] if spec.real_node else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {FAKE_NODE: "fake"}},
        "spec": {"taints": taints},
        "status": {"allocatable": resources, "capacity": resources},
    }


def _storage_class(name: str, provisioner: str, binding: str, default: bool) -> Manifest:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": provisioner,
        "volumeBindingMode": binding,
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
    }

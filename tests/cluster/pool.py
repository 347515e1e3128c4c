"""Nodes that one test makes for itself: nobody else's pod is on them."""

from __future__ import annotations

import time
from typing import Any

from devcluster.simulated import FAKE_NODE
from tests.cluster.world import World

Object = dict[str, Any]

GIVEN_UP_SECONDS = 10
"""How long a server is left on a node that does not answer; 300 s where nobody says anything."""


class Pool:
    """Nodes that only the servers of one test land on."""

    def __init__(self, world: World) -> None:
        self.world, self.api, self.label = world, world.api, {"pool": world.namespace}

    @property
    def scheduling(self) -> Object:
        """`spec.scheduling` of what runs in the pool."""
        gone = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        return {"nodeSelector": self.label, "tolerations": [gone | {"tolerationSeconds": GIVEN_UP_SECONDS}]}

    def add(self, name: str, *, gpus: int, kubelet: bool = True) -> str:
        """A node that is ready now; without a kubelet nothing is heard of it from then on."""
        name = f"{self.world.namespace}-{name}"
        amounts = {"cpu": "128", "memory": "1024Gi", "pods": "250", "nvidia.com/gpu": str(gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": timestamp()}
        annotations = {FAKE_NODE: "fake"} if kubelet else {}
        status = {"allocatable": amounts, "capacity": amounts} | ({} if kubelet else {"conditions": [ready]})
        meta = {"name": name, "labels": self.label, "annotations": annotations}
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status})
        return name

    def take_gpu(self, name: str, **fields: str) -> None:
        """A pod of somebody else's, for one GPU of the pool. `fields`: of its spec."""
        resources = {"limits": {"nvidia.com/gpu": "1"}}
        container = {"name": "c", "image": "registry.example/c:1", "resources": resources}
        spec = {"nodeSelector": self.label, "containers": [container], **fields}
        meta = {"name": name, "namespace": self.world.namespace}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        self.world.wait(lambda: self.world.must("Pod", name)["spec"].get("nodeName"), f"{name} has a node")

    def close(self) -> None:
        for node in self.api.list("Node", labelSelector=f"pool={self.world.namespace}"):
            self.api.delete("Node", None, node["metadata"]["name"])


def timestamp() -> str:
    """As the API writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

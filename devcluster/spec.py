"""What a cluster is made of, as its user asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from devcluster.paths import DevclusterError


@dataclass(frozen=True)
class ClusterSpec:
    """Options of `up`. Memory and GPU memory are whole numbers of GiB and MiB as their names say."""

    name: str = "dev"
    nodes: int = -1  # simulated; -1: one, or none beside a real node
    gpus_per_node: int = 8
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    gpu_memory_mib: int = 81559
    real_node: bool = False
    real_gpus: int = 2
    audit: bool = False
    audit_users: tuple[str, ...] = ()  # whose requests the audit log has; empty: everybody's
    node_ports: str = ""  # the range for Services of type NodePort, like "30000-30009"; empty: Kubernetes' own
    fake_download_report: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.nodes == -1:
            object.__setattr__(self, "nodes", 0 if self.real_node else 1)
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
            raise DevclusterError(f"--name {self.name!r}: at most 40 of a-z, 0-9 and '-', not '-' at either end")
        for field in ("nodes", "gpus_per_node", "real_gpus", "gpu_memory_mib"):
            if getattr(self, field) < 0:
                raise DevclusterError(f"--{field.replace('_', '-')} must not be negative")
        if not self.nodes and not self.real_node:
            raise DevclusterError("a cluster needs a node: give --nodes N, or --real-node")

"""Kubernetes' own kinds that the operator reads and writes, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.api_version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of one object, of a namespace's collection, or of all namespaces' collection."""
        parts = ["/apis" if "/" in self.api_version else "/api", self.api_version]
        parts += ["namespaces", namespace] if namespace else []
        return "/".join([*parts, self.plural, *([name] if name else []), *([subresource] if subresource else [])])


DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SETS = Kind("apps/v1", "ReplicaSet", "replicasets")
DISRUPTION_BUDGETS = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
HTTP_ROUTES = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
INFERENCE_POOLS = Kind("inference.networking.k8s.io/v1", "InferencePool", "inferencepools")
"""Of the Gateway API Inference Extension."""
SERVICES = Kind("v1", "Service", "services")
ENDPOINT_SLICES = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
CLAIMS = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
JOBS = Kind("batch/v1", "Job", "jobs")
PODS = Kind("v1", "Pod", "pods")
SECRETS = Kind("v1", "Secret", "secrets")
CONFIG_MAPS = Kind("v1", "ConfigMap", "configmaps")
STORAGE_CLASSES = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses")
NODES = Kind("v1", "Node", "nodes")
EVENTS = Kind("events.k8s.io/v1", "Event", "events")
SCALED_OBJECTS = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
"""Of KEDA, which need not be there."""
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")

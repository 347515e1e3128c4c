"""Fluent builders of the objects that tests apply."""

from __future__ import annotations

import copy
import json
from typing import Any, Self

from qwen3_operator.api import API_VERSION

Object = dict[str, Any]
ANNOTATION = "devcluster.qwen3.dev/"


class _Builder:
    kind = ""

    def __init__(self, name: str, namespace: str = "") -> None:
        self.manifest: Object = {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
            "spec": {},
        }

    @property
    def spec(self) -> Object:
        spec: Object = self.manifest["spec"]
        return spec

    def set(self, **fields: Any) -> Self:
        """Fields of the spec. A podTemplatePatch is given as an object, and written as text."""
        if isinstance(patch := fields.get("podTemplatePatch"), dict):
            fields = fields | {"podTemplatePatch": json.dumps(patch)}
        self.spec.update(copy.deepcopy(fields))
        return self

    def _pod_annotations(self, simulated: dict[str, str]) -> Self:
        patch = json.loads(self.spec.get("podTemplatePatch", "{}"))
        annotations = patch.setdefault("metadata", {}).setdefault("annotations", {})
        annotations.update({ANNOTATION + key.replace("_", "-"): value for key, value in simulated.items()})
        return self.set(podTemplatePatch=patch)

    def _into(self, *path: str, **fields: Any) -> Self:
        node = self.spec
        for part in path:
            node = node.setdefault(part, {})
        node.update(copy.deepcopy(fields))
        return self


class Q3d(_Builder):
    """A Qwen3Deployment of Qwen/Qwen3-0.6B, changed word by word."""

    kind = "Qwen3Deployment"

    def __init__(self, name: str = "chat", namespace: str = "") -> None:
        super().__init__(name, namespace)
        self.set(model={"id": "Qwen/Qwen3-0.6B"})

    def model(self, id: str | None = None, **fields: Any) -> Self:
        return self._into("model", **({"id": id} if id else {}), **fields)

    def storage(self, **fields: Any) -> Self:
        return self._into("model", "storage", **fields)

    def engine(self, **fields: Any) -> Self:
        return self._into("engine", **fields)

    def scheduling(self, **fields: Any) -> Self:
        return self._into("scheduling", **fields)

    def pod(self, **simulated: str) -> Self:
        """What the simulated node does to the server's pods: waiting_reason="ImagePullBackOff", ready="false" ..."""
        return self._pod_annotations(simulated)


class Q3m(_Builder):
    """A Qwen3Model of Qwen/Qwen3-0.6B."""

    kind = "Qwen3Model"

    def __init__(self, name: str = "weights", namespace: str = "") -> None:
        super().__init__(name, namespace)
        self.set(id="Qwen/Qwen3-0.6B")

    def storage(self, **fields: Any) -> Self:
        return self._into("storage", **fields)


class Q3b(_Builder):
    """A Qwen3Batch of Qwen/Qwen3-0.6B with one prompt and the output answers:out.jsonl."""

    kind = "Qwen3Batch"

    def __init__(self, name: str = "nightly", namespace: str = "") -> None:
        super().__init__(name, namespace)
        self.set(model={"id": "Qwen/Qwen3-0.6B"}, input={"prompts": ["hello"]})
        self.output("answers", "out.jsonl")

    def output(self, name: str, path: str) -> Self:
        return self._into("output", claim={"name": name, "path": path})

    def labels(self, **labels: str) -> Self:
        """Labels; `__` stands for '/', `_` for '-'."""
        named = {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}
        self.manifest["metadata"]["labels"] = named
        return self

    def pod(self, **simulated: str) -> Self:
        """What the simulated node does to the shards' pods."""
        return self._pod_annotations(simulated)


def secret(name: str, **data: str) -> Object:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def config_map(name: str, **data: str) -> Object:
    """A ConfigMap; `__` in a key stands for '.'."""
    keys = {key.replace("__", "."): value for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": keys}


def claim(name: str, **spec: Any) -> Object:
    """A PersistentVolumeClaim of 10Gi."""
    defaults = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": defaults | spec}


def quota(name: str, **hard: str) -> Object:
    """A ResourceQuota."""
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def storage_class(name: str, provisioner: str = "kubernetes.io/host-path") -> Object:
    """A StorageClass whose volumes are simulated."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
    }

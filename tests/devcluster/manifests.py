"""Small manifests for the tests of the development cluster."""

from typing import Any

from devcluster.stages import PREFIX

Manifest = dict[str, Any]
IMAGE = "localhost/devcluster-busybox:1"


def pod(name: str, *, script: str = "sleep 1000", gpus: int = 0, claim: str | None = None, **extra: Any) -> Manifest:
    """A pod of one container that runs a shell script; `annotations` and `labels` go to its metadata."""
    container: Manifest = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    spec: Manifest = {"containers": [container], "terminationGracePeriodSeconds": 0}
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    metadata = {"name": name, "namespace": "default", "labels": extra.pop("labels", {})}
    metadata["annotations"] = {PREFIX + key: value for key, value in extra.pop("annotations", {}).items()}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | extra}


def job(name: str, **options: Any) -> Manifest:
    """A Job of one such pod that is not tried again."""
    template = pod(name, restartPolicy="Never", **options)
    template["metadata"] = {key: template["metadata"][key] for key in ("labels", "annotations")}
    spec = {"backoffLimit": 0, "template": {key: template[key] for key in ("metadata", "spec")}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def claim(name: str, storage_class: str | None = None, size: str = "1Gi") -> Manifest:
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}

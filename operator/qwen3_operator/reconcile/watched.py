"""What is watched, what of it is kept, and how it is found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from qwen3_front.contract import OURS, SLICE_MANAGER
from qwen3_front.table import port_of
from qwen3_operator.api.batch import Qwen3Batch
from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.api.model import Qwen3Model
from qwen3_operator.api.source import ModelSource
from qwen3_operator.controller.kinds import (
    CLAIMS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    INFERENCE_POOLS,
    JOBS,
    NODES,
    PODS,
    SCALED_OBJECTS,
    SERVICES,
    Kind,
)
from qwen3_operator.controller.store import Kept, Object
from qwen3_operator.naming import (
    BATCH_LABEL,
    DEPLOYMENT_LABEL,
    MODEL_LABEL,
    QWEN3_BATCHES,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    file_on_claim,
    model_name,
)

OWNER_LABELS = {
    DEPLOYMENT_LABEL: Qwen3Deployment.KIND,
    BATCH_LABEL: Qwen3Batch.KIND,
    MODEL_LABEL: Qwen3Model.KIND,
}
"""Labels of a child that name its owner; the first that it has counts."""
CHILDREN: tuple[Kind, ...] = (
    DEPLOYMENTS,
    SERVICES,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    INFERENCE_POOLS,
    DISRUPTION_BUDGETS,
    SCALED_OBJECTS,
    CLAIMS,
    JOBS,
    PODS,
)
"""Kinds of which only what carries our managed-by label is watched."""
MAY_BE_MISSING: tuple[Kind, ...] = (HTTP_ROUTES, INFERENCE_POOLS, SCALED_OBJECTS)
"""Kinds that others bring to an API server, and take away. kopf does not watch them: of one that is not served it would
wait for ever, and end with one that goes."""

JOB_LABEL = "batch.kubernetes.io/job-name"
"""What the Job controller writes on its pods (Kubernetes 1.27)."""
BY_OWNER, BY_MODEL, BY_WANTED, BY_ID, BY_OUTPUT, BY_JOB = "ownerName", "model", "wanted", "id", "output", "job"
BY_DEPLOYMENT = "deployment"
"""Of batches: the Qwen3Deployment that they refer to."""
BY_RETAINING = "retaining"
"""Of users: the namespace of those who want their weights kept."""
BY_PORT = "port"
"""Of EndpointSlices that lead to the front: its port."""


def owner_key(namespace: str, kind: str, name: str) -> str:
    """Value of the index BY_OWNER for the children of one object of ours."""
    return f"{namespace}/{kind}/{name}"


def in_namespace(namespace: str, value: str) -> str:
    """Value of an index whose values are unique in a namespace only."""
    return f"{namespace}/{value}"


def owner_of(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """(kind, name) of the owner that a child's labels name."""
    for label, kind in OWNER_LABELS.items():
        if name := labels.get(label):
            return kind, name
    return None


def _by_owner(child: Object) -> Iterator[str]:
    meta = child["metadata"]
    if owner := owner_of(meta.get("labels") or {}):
        yield owner_key(meta["namespace"], *owner)


def served_model(user: Object | None) -> str | None:
    """The Qwen3Model that the status of a user names; None for a batch that is over, which uses none any more."""
    status = (user or {}).get("status") or {}
    if (status.get("job") or {}).get("result"):
        return None
    name: str | None = (status.get("model") or {}).get("name")
    return name


def _by_model(user: Object) -> Iterator[str]:
    """The Qwen3Model that it is served from, and the one that it refers to."""
    spec = user.get("spec") or {}
    for name in {(spec.get("modelRef") or {}).get("name"), served_model(user)} - {None}:
        yield in_namespace(user["metadata"]["namespace"], str(name))


def _by_retaining(user: Object) -> Iterator[str]:
    """Nothing for one that leaves that to others (its modelRef) or cannot be read."""
    source = (user.get("spec") or {}).get("model")
    if source and (source.get("storage") or {}).get("retentionPolicy") != "Delete":
        yield str(user["metadata"]["namespace"])


def _by_wanted(user: Object) -> Iterator[str]:
    """Name of the Qwen3Model for its source, the hub left out."""
    try:
        source = ModelSource.model_validate((user.get("spec") or {})["model"])
    except (KeyError, ValidationError):
        return
    yield in_namespace(user["metadata"]["namespace"], model_name(source))


def _by_id(model: Object) -> Iterator[str]:
    yield in_namespace(model["metadata"]["namespace"], str(model["spec"].get("id")))


def _by_output(batch: Object) -> Iterator[str]:
    claim = ((batch.get("spec") or {}).get("output") or {}).get("claim") or {}
    yield in_namespace(batch["metadata"]["namespace"], ":".join(file_on_claim(claim.get("name"), claim.get("path"))))


def _by_deployment(batch: Object) -> Iterator[str]:
    """Nothing for a batch that has ended: what it refers to concerns it no more."""
    name = ((batch.get("spec") or {}).get("deploymentRef") or {}).get("name")
    if name and not ((batch.get("status") or {}).get("job") or {}).get("result"):
        yield in_namespace(batch["metadata"]["namespace"], str(name))


def _by_job(pod: Object) -> Iterator[str]:
    if job := (pod["metadata"].get("labels") or {}).get(JOB_LABEL):
        yield in_namespace(pod["metadata"]["namespace"], job)


def _by_port(slice: Object) -> Iterator[str]:
    if (slice["metadata"].get("labels") or {}).get(SLICE_MANAGER) == OURS and (port := port_of(slice)) is not None:
        yield str(port)


def _pod(pod: Object) -> Object:
    """Of a PodSpec only which volumes it uses, where it is, and how many GPUs it asks for."""
    spec: Mapping[str, Any] = pod["spec"]
    claims = [v for v in spec.get("volumes") or () if "persistentVolumeClaim" in v]
    containers = [_fields(c, ("name", "command", "args", "resources")) for c in spec.get("containers") or ()]
    kept = {"volumes": claims, "containers": containers} | _fields(spec, ("nodeName",))
    return {"metadata": pod["metadata"], "spec": kept, "status": pod.get("status") or {}}


def _scaled_object(scaler: Object) -> Object:
    """Of its status only what KEDA says about it: at each check it also writes there when there was load last."""
    return dict(scaler) | {"status": _fields(scaler.get("status") or {}, ("conditions",))}


def _node(node: Object) -> Object:
    meta, status = node["metadata"], node.get("status") or {}
    kept = _fields(meta, ("name", "uid", "resourceVersion", "labels", "deletionTimestamp"))
    ready = {"type": "Ready", "status": condition_of(node, "Ready").get("status")}  # without the time of each heartbeat
    return {"metadata": kept, "status": _fields(status, ("allocatable",)) | {"conditions": [ready]}}


def _fields(obj: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: obj[name] for name in names if name in obj}


WATCHED: dict[Kind, Kept] = {
    QWEN3_DEPLOYMENTS: Kept(indices={BY_MODEL: _by_model, BY_WANTED: _by_wanted, BY_RETAINING: _by_retaining}),
    QWEN3_BATCHES: Kept(
        indices={
            BY_MODEL: _by_model,
            BY_OUTPUT: _by_output,
            BY_DEPLOYMENT: _by_deployment,
            BY_RETAINING: _by_retaining,
        }
    ),
    QWEN3_MODELS: Kept(indices={BY_ID: _by_id}),
    **{kind: Kept(indices={BY_OWNER: _by_owner}) for kind in CHILDREN},
    ENDPOINT_SLICES: Kept(indices={BY_OWNER: _by_owner, BY_PORT: _by_port}),
    PODS: Kept(trim=_pod, indices={BY_OWNER: _by_owner, BY_JOB: _by_job}),
    SCALED_OBJECTS: Kept(trim=_scaled_object, indices={BY_OWNER: _by_owner}),
    NODES: Kept(trim=_node),
}

"""What users get wrong that only the cluster can find (issue: bad input): cause, condition, and what mends it.

Nothing here touches the Qwen3Deployment after it was applied: mending the cause has to be enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.cluster.downloads import failed, held_back, stage
from tests.cluster.world import World
from tests.cluster.wrappers import ANNOTATION, Q3d, claim, config_map, quota, secret, storage_class

Object = dict[str, Any]
HUB = "https://modelscope.cn"
CONFIG_ERROR = "CreateContainerConfigError"


def nothing(_: World) -> None:
    """Nothing to do."""


@dataclass(frozen=True)
class BadInput:
    """One mistake."""

    what: str
    """In words, for docs/bad-input.md."""
    cr: Q3d
    condition: str
    reason: str
    names: str
    """What the message has to name."""
    mend: Callable[[World], object]
    known: Callable[[World], bool] = lambda _: True
    """Whether the cluster knows it by now."""
    cause: Callable[[World], object] = nothing
    """What has to be so beforehand."""
    clean: Callable[[World], object] = nothing
    """What is to be taken back outside of the namespace."""
    heals_within: float = 30.0


def _download_fails(reason: str, message: str, code: int) -> Callable[[World], object]:
    return lambda world: world.api.apply(stage(world.namespace, failed(reason, message, code)))


def _download_works(world: World) -> None:
    world.api.delete("Stage", None, f"download-{world.namespace}")


def _new_token(world: World) -> None:
    _download_works(world)
    world.apply(secret("token", token="good"))


def _kubelet_says(words: str) -> Callable[[World], object]:
    """Download pods wait with these words. Simulated kubelets know no Secrets, and the operator may read none."""
    return lambda world: world.api.apply(held_back(world.namespace, CONFIG_ERROR, words))


def _pods_run(world: World) -> None:
    """What held the simulated pods back is gone."""
    world.api.delete("Stage", None, f"download-{world.namespace}")
    for pod in world.list("Pod"):
        world.patch(
            "Pod", pod["metadata"]["name"], {"metadata": {"annotations": {f"{ANNOTATION}waiting-reason": None}}}
        )


def _node(world: World, change: Object, subresource: str = "") -> None:
    path = "/api/v1/nodes/sim-0" + (f"/{subresource}" if subresource else "")
    world.api.request("PATCH", path, change, content_type="application/merge-patch+json")


def _label(value: str | None) -> Callable[[World], None]:
    return lambda world: _node(world, {"metadata": {"labels": {"pool": value}}})


def _extended(count: str | None) -> Callable[[World], None]:
    resources = {"example.com/gpu": count}
    return lambda world: _node(world, {"status": {"capacity": resources, "allocatable": resources}}, "status")


def _volume(world: World) -> None:
    """A volume made by hand."""
    name = world.namespace
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "500Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "unavailable",
            "hostPath": {"path": f"/tmp/hostpath_pv/{name}"},
        },
    }
    world.api.request("POST", "/api/v1/persistentvolumes", body)


def _quota(name: str, **hard: str) -> Callable[[World], object]:
    return lambda world: world.apply(quota(name, **hard))


def _no_quota(name: str) -> Callable[[World], object]:
    return lambda world: world.delete("ResourceQuota", name)


def _download_failed(world: World) -> bool:
    return any(pod["status"].get("phase") == "Failed" for pod in world.list("Pod"))


def _no_node(world: World) -> bool:
    conditions = [c for pod in world.list("Pod") for c in pod["status"].get("conditions", [])]
    return any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)


def _held_back(world: World) -> bool:
    statuses = [s for pod in world.list("Pod") for s in pod["status"].get("containerStatuses", [])]
    return any(status["state"].get("waiting") for status in statuses)


def _refused(world: World) -> bool:
    server = world.get("Deployment", "chat") or {}
    return any(c["type"] == "ReplicaFailure" for c in server.get("status", {}).get("conditions", []))


def _pod_refused(world: World) -> bool:
    return any(e["reason"] == "FailedCreate" for e in world.list("Event"))


def _claim_warned(world: World) -> bool:
    return any(
        e["regarding"]["kind"] == "PersistentVolumeClaim" and e["type"] == "Warning" for e in world.list("Event")
    )


_TOKEN = {"name": "token", "key": "token"}
_TEMPLATE = {"configMapKeyRef": {"name": "template", "key": "chat.jinja"}}
_API_KEY = {"apiKeySecretRef": {"name": "api-key", "key": "key"}}

BAD_INPUTS: dict[str, BadInput] = {
    "unknown-model": BadInput(
        "A model id that the hub does not know",
        Q3d(),
        "ModelReady",
        "ModelNotFound",
        "Qwen/Qwen3-0.6B",
        cause=_download_fails("ModelNotFound", f"{HUB} knows no model Qwen/Qwen3-0.6B: check spec.model.id", 10),
        known=_download_failed,
        mend=_download_works,
        heals_within=45,
    ),
    "unknown-revision": BadInput(
        "A revision that the model does not have",
        Q3d().model(revision="v9"),
        "ModelReady",
        "RevisionNotFound",
        "v9",
        cause=_download_fails("RevisionNotFound", "Qwen/Qwen3-0.6B has no revision v9: check spec.model.revision", 10),
        known=_download_failed,
        mend=_download_works,
        heals_within=45,
    ),
    "refused-token": BadInput(
        "An access token that the hub refuses",
        Q3d().model(tokenSecretRef=_TOKEN),
        "ModelReady",
        "Unauthorized",
        "token",
        cause=lambda world: (
            world.apply(secret("token", token="bad")),
            _download_fails("Unauthorized", f"{HUB} refuses the access token: renew the Secret", 11)(world),
        ),
        known=_download_failed,
        mend=_new_token,
        heals_within=45,
    ),
    "hub-away": BadInput(
        "A hub that does not answer",
        Q3d(),
        "ModelReady",
        "HubUnavailable",
        HUB,
        cause=_download_fails("HubUnavailable", f"{HUB} does not answer: check spec.model.endpoint", 30),
        known=_download_failed,
        mend=_download_works,
        heals_within=60,
    ),
    "disk-full": BadInput(
        "A volume that is too small",
        Q3d(),
        "ModelReady",
        "DiskFull",
        "spec.model.storage.size",
        cause=_download_fails("DiskFull", "1.5 GiB are needed, 1.0 GiB are free: enlarge spec.model.storage.size", 12),
        known=_download_failed,
        mend=_download_works,
        heals_within=45,
    ),
    "no-token-secret": BadInput(
        "A Secret with the token that does not exist",
        Q3d().model(tokenSecretRef=_TOKEN),
        "ModelReady",
        "SecretNotFound",
        "Secret token",
        cause=_kubelet_says('secret "token" not found'),
        known=_held_back,
        mend=_pods_run,
    ),
    "no-token-key": BadInput(
        "A Secret without the key that is named",
        Q3d().model(tokenSecretRef=_TOKEN),
        "ModelReady",
        "SecretKeyNotFound",
        "no key token",
        cause=_kubelet_says("couldn't find key token in Secret team/token"),
        known=_held_back,
        mend=_pods_run,
    ),
    "no-api-key": BadInput(
        "A Secret with the API key that does not exist",
        Q3d().set(auth=_API_KEY).pod(waiting_reason=CONFIG_ERROR, waiting_message='secret "api-key" not found'),
        "Available",
        "SecretNotFound",
        "Secret api-key",
        known=_held_back,
        mend=_pods_run,
    ),
    "no-template": BadInput(
        "A ConfigMap with the chat template that does not exist",
        Q3d().engine(chatTemplate=_TEMPLATE),
        "Accepted",
        "ConfigMapNotFound",
        "ConfigMap template",
        mend=lambda world: world.apply(config_map("template", chat__jinja="{{ messages }}")),
    ),
    "no-template-key": BadInput(
        "A ConfigMap without the key that is named",
        Q3d().engine(chatTemplate=_TEMPLATE),
        "Accepted",
        "ConfigMapKeyNotFound",
        "no key chat.jinja",
        cause=lambda world: world.apply(config_map("template", other__jinja="{{ messages }}")),
        mend=lambda world: world.apply(config_map("template", chat__jinja="{{ messages }}")),
    ),
    "no-variable": BadInput(
        "A Secret in engine.env that does not exist",
        Q3d()
        .engine(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "k"}}}])
        .pod(waiting_reason=CONFIG_ERROR, waiting_message='secret "nowhere" not found'),
        "Available",
        "SecretNotFound",
        "nowhere",
        known=_held_back,
        mend=_pods_run,
    ),
    "no-storage-class": BadInput(
        "A StorageClass that does not exist",
        Q3d().storage(storageClassName="nowhere"),
        "ModelReady",
        "VolumeNotBound",
        "nowhere",
        known=_claim_warned,
        mend=lambda world: world.api.apply(storage_class("nowhere")),
        clean=lambda world: world.api.delete("StorageClass", None, "nowhere"),
        heals_within=60,  # the volume controller tries again every 15 s
    ),
    "no-volume": BadInput(
        "A claim for which there is no volume",
        Q3d().storage(storageClassName="unavailable"),
        "ModelReady",
        "VolumeClaimUnbound",
        "storage class",
        known=_no_node,
        mend=_volume,
        heals_within=60,
    ),
    "no-claim": BadInput(
        "A claim with weights that does not exist",
        Q3d().storage(existingClaim={"name": "filled"}),
        "ModelReady",
        "ClaimNotFound",
        "PersistentVolumeClaim filled",
        mend=lambda world: world.apply(claim("filled")),
    ),
    "no-gpu": BadInput(
        "No free GPU",
        Q3d().set(gpu={"resourceName": "example.com/gpu"}),
        "Scheduled",
        "InsufficientGpu",
        "GPU",
        known=_no_node,
        mend=_extended("8"),
        clean=_extended(None),
        heals_within=45,
    ),
    "no-node": BadInput(
        "A node selector that no node has",
        Q3d().scheduling(nodeSelector={"pool": "gpu"}),
        "ModelReady",
        "NodeSelectorMismatch",
        "nodeSelector",
        known=_no_node,
        mend=_label("gpu"),
        clean=_label(None),
        heals_within=45,
    ),
    "no-image": BadInput(
        "An image that cannot be pulled",
        Q3d()
        .engine(image="registry.example/nowhere:v0.33.0")
        .pod(waiting_reason="ImagePullBackOff", waiting_message="Back-off pulling image"),
        "Available",
        "ImagePullFailed",
        "registry.example/nowhere:v0.33.0",
        known=_held_back,
        mend=_pods_run,
    ),
    "no-quota": BadInput(
        "A quota that leaves no GPU",
        Q3d(),
        "Available",
        "QuotaExceeded",
        "quota gpus",
        cause=_quota("gpus", **{"requests.nvidia.com/gpu": "0"}),
        known=_refused,
        mend=_no_quota("gpus"),
        heals_within=60,
    ),
    "no-limit": BadInput(
        "A quota that wants a limit which the download does not have",
        Q3d(),
        "ModelReady",
        "QuotaExceeded",
        "limits.cpu",
        cause=_quota("limits", **{"limits.cpu": "100"}),
        known=_pod_refused,
        mend=_no_quota("limits"),
        heals_within=60,
    ),
}

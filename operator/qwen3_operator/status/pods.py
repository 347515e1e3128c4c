"""Why a pod does not run, in the words of whoever knows: scheduler, kubelet, container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

# The kubelet's waiting reasons that are no trouble.
_ON_ITS_WAY = {"ContainerCreating", "PodInitializing"}
_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}


@dataclass(frozen=True)
class Trouble:
    """Why something does not go on, and whether it does so only when a person acts."""

    reason: str
    message: str
    needs_a_person: bool


def scheduled(pod: Object) -> Object | None:
    """The pod's PodScheduled condition."""
    conditions = pod.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == "PodScheduled"), None)


def unschedulable(pods: Sequence[Object]) -> Trouble | None:
    """Why the first pod without a node has none."""
    for pod in pods:
        condition = scheduled(pod)
        if condition and condition["status"] == "False":
            message = condition.get("message") or ""
            full = "Insufficient" in message  # frees itself, or an autoscaler's node comes
            reason = "InsufficientResources" if full else condition.get("reason") or "Unschedulable"
            return Trouble(reason, f"pod {pod['metadata']['name']} has no node: {message}", not full)
    return None


def pod_trouble(pods: Sequence[Object], events: Sequence[str] = ()) -> Trouble | None:
    """Why the newest pod does not run; None when it runs or is on its way. `events`: warnings about the pods."""
    living = [p for p in pods if p.get("status", {}).get("phase") in (None, "Pending", "Running")]
    if trouble := unschedulable(living):
        return trouble
    for pod in living:
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason, message = waiting.get("reason"), waiting.get("message") or ""
            if not reason or reason in _ON_ITS_WAY:
                continue
            if reason in _IMAGE_REASONS:
                image = container.get("image") or "its image"
                return Trouble(
                    "ImagePullFailed",
                    f"pod {name} cannot pull {image}: {message or reason}. "
                    "Mend the image's name, or make it reachable with a pull secret.",
                    reason != "ErrImagePull",  # the first refusal may be a passing one
                )
            return Trouble(reason, f"pod {name}: {message or reason}", True)
        if events and status.get("phase") == "Pending":
            return Trouble("PodNotStarted", f"pod {name}: {events[-1]}", True)
    return None

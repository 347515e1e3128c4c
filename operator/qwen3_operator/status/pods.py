"""Why a pod does not run, and whether that needs a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.reasons import Act, Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.engine.diagnosis import Cause, diagnose_create_failure, diagnose_pod, has_ended

Object = Mapping[str, Any]
AGAIN = 3
"""A container that ended so often does not heal by another start (Act.PERSON_IF_AGAIN)."""
LASTS = timedelta(minutes=5)
"""What a kubelet has tried for so long needs a person (Act.PERSON_IF_LASTS)."""


@dataclass(frozen=True)
class Trouble:
    """Why something does not go on."""

    reason: Reason
    message: str
    since: datetime | None = None
    """When it began at the earliest."""
    may_pass: bool = False
    """It is tried again, and has not come or lasted often enough to need a person."""

    @property
    def needs_a_person(self) -> bool:
        """Whether it goes on only when a person acts."""
        return self.reason.needs_person and not self.may_pass


@dataclass(frozen=True)
class PodView:
    """A pod with what else is known of it: the end of the failed container's log, and warning events, oldest first."""

    pod: Object
    log: str | None = None
    events: Sequence[str] = ()
    lost: bool = False
    """Nothing is heard of its node."""
    autoscaler: str = ""
    """What the cluster's autoscaler said last of a pod without a node."""
    node_coming: bool = False
    """Whether that is that it adds one."""
    age: timedelta = timedelta.max
    """For how long it has been there."""

    @property
    def name(self) -> str:
        """Name of the pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def placed(self) -> bool:
        """Whether it has a node."""
        return condition_of(self.pod, "PodScheduled").get("status") == "True"

    @property
    def unplaced(self) -> bool:
        """Whether the scheduler said that it has no node for it."""
        return condition_of(self.pod, "PodScheduled").get("status") == "False"

    @property
    def over(self) -> bool:
        """Whether it ended for good."""
        return has_ended(self.pod)

    @property
    def failed(self) -> bool:
        """Whether a container ended that should run: then its log is worth reading."""
        return any(
            "terminated" in (c.get("state") or {})
            or ("terminated" in (c.get("lastState") or {}) and not c.get("ready"))
            for c in self.pod.get("status", {}).get("containerStatuses") or []
        )


def pod_trouble(
    views: Sequence[PodView], gpus_by_node: Mapping[str, int] | None = None, *, remedy: Mapping[str, str] | None = None
) -> Trouble | None:
    """The first trouble among pods, those without a node first; None when all run or are on their way.

    `remedy`: other words for the remedy, by the beginning of the reason.
    """
    for view in sorted(views, key=lambda v: not v.unplaced):
        cause = _of_lost_node(view) or diagnose_pod(view.pod, view.log, view.events, gpus_by_node)
        if cause is not None and view.node_coming:
            words = f"pod {view.name} gets a node ({view.autoscaler}). Until it is there: {cause.message}"
            return Trouble(Reason.NODE_COMING, words)
        if cause is not None:
            return Trouble(cause.reason, _words(view, cause, remedy or {}), _since(view), _may_pass(view, cause.reason))
    return None


def trouble_of_refused(words: str, since: datetime | None, pods: int = 1) -> Trouble:
    """Why there are no pods, by the words of the API server for which their controller could make none. `pods`: how
    many are wanted at once, at the least."""
    cause = diagnose_create_failure(words, pods)
    return Trouble(cause.reason, f"{cause.message}. To do: {cause.remedy}" if cause.remedy else cause.message, since)


def _since(view: PodView) -> datetime | None:
    """When the trouble of a pod began at the earliest: with the pod, or when the scheduler found no node for it."""
    unplaced = condition_of(view.pod, "PodScheduled").get("lastTransitionTime") if view.unplaced else None
    return parse_time(unplaced or view.pod["metadata"].get("creationTimestamp"))


def _may_pass(view: PodView, reason: Reason) -> bool:
    """Whether what befalls a pod may pass: what a node, a registry or a crash causes counts when it comes again, or
    lasts."""
    starts = view.pod.get("status", {}).get("containerStatuses") or ()
    often = max((int(container.get("restartCount") or 0) for container in starts), default=0)
    return (reason.act is Act.PERSON_IF_AGAIN and often < AGAIN) or (
        reason.act is Act.PERSON_IF_LASTS and view.age < LASTS
    )


def is_preempted(pod: Object) -> bool:
    """Whether the scheduler takes its place for a pod of higher priority."""
    why = condition_of(pod, "DisruptionTarget")
    return why.get("status") == "True" and why.get("reason") == "PreemptionByScheduler"


def _of_lost_node(view: PodView) -> Cause | None:
    if not view.lost or view.over:
        return None
    node = (view.pod.get("spec") or {}).get("nodeName", "")
    return Cause(
        Reason.NODE_LOST,
        f"nothing is heard of its node {node}",
        "see the node; another pod takes its place once Kubernetes gives it up (after 5 minutes, where no toleration of"
        " node.kubernetes.io/unreachable says otherwise)",
    )


def _words(view: PodView, cause: Cause, remedies: Mapping[str, str]) -> str:
    other = next((words for start, words in remedies.items() if cause.reason.startswith(start)), None)
    what = other or cause.remedy
    message = f"pod {view.name}: {cause.message}"
    if view.autoscaler:
        message += f" (the cluster's autoscaler: {view.autoscaler})"
    return f"{message}. To do: {what}" if what else message

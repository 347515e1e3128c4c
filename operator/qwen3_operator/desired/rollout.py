"""How servers of one template take the place of those of another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from qwen3_operator.api import GROUP
from qwen3_operator.api.conditions import condition_of, is_current
from qwen3_operator.api.deployment import Rollout
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.engine.diagnosis import gpus_wanted, has_ended, is_gpu, quota_allows, short_of, waits_for_room

Object = Mapping[str, Any]
REFUSED = f"{GROUP}/rolled-back"
"""Annotation of a server Deployment: the spec whose servers failed, so that it is not tried again until it changes."""
NO_ROOM = timedelta(seconds=10)
"""The scheduler has no node for a new server beside the old ones for so long: one of these has to go first."""
NO_VOLUME = timedelta(seconds=60)
"""A new server has a node and no container for so long: its volume may be held by the old one, on another node."""
MOST_GONE_BACK = 8
"""More than a Deployment keeps ReplicaSets of."""
_TEMPLATE_HASH = "pod-template-hash"


@dataclass(frozen=True)
class RolledBack:
    """A spec whose servers failed: digest of what decides about them, and why."""

    inputs: str
    reason: str
    message: str
    also: tuple[str, ...] = ()
    """Digests of earlier specs whose servers failed as well when they were gone back to."""

    def written(self) -> dict[str, str]:
        """As annotations."""
        return {REFUSED: json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))}


def rolled_back(server: Object | None) -> RolledBack | None:
    """What is written on a Deployment; None where nothing is, or nothing that can be read."""
    text = ((server or {}).get("metadata", {}).get("annotations") or {}).get(REFUSED)
    try:
        said = json.loads(text or "")
        also = tuple(str(it) for it in list(said.get("also") or ())[:MOST_GONE_BACK])
        return RolledBack(str(said["inputs"]), str(said["reason"]), str(said["message"]), also)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def strategy(rollout: Rollout, *, delete_first: bool) -> dict[str, Any]:
    """The Deployment's strategy. `delete_first`: there is no room for a new server beside the old ones."""
    if rollout.strategy == "Recreate":
        return {"type": "Recreate"}
    least = rollout.max_unavailable
    if delete_first:
        return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": max(1, least)}}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": least}}


def must_delete_first(
    rollout: Rollout,
    server: Object | None,
    pods: Sequence[Object],
    gpus_by_node: Mapping[str, int],
    now: datetime,
    *,
    volume_of_one_node: bool,
    pods_refused: str = "",
) -> bool:
    """Whether an old server has to go before a new one can come: asked of the scheduler, which knows GPUs, quota,
    priorities and volumes, by trying. Only where the end of an old one makes room: else nothing is taken down.

    `pods`: of the servers, old and new. `gpus_by_node`: of the nodes where they may run. `volume_of_one_node`: servers
    mount a volume that only one node may have. `pods_refused`: the API server's words, where it takes no new server.
    Once an old server went first it stays so until the roll-out is over.
    """
    if rollout.strategy != "Auto" or server is None:
        return False
    if deletes_first(server) and not has_completed(server):
        return True  # also while there is none of the old ones: a new one has to come first
    if not is_rolling(server):
        return False
    if quota_allows(pods_refused):
        return True
    living = [pod for pod in pods if _holds_its_place(pod)]
    if len({template_hash(pod) for pod in living}) < 2:
        return False
    if volume_of_one_node and any(_waits_for_volume(pod, now) for pod in living):
        return True
    stuck = [pod for pod in living if _since(pod, "PodScheduled", "False", now) >= NO_ROOM]
    return any(waits_for_room(pod, gpus_by_node) and makes_room(living, pod, gpus_by_node) for pod in stuck)


def _holds_its_place(pod: Object) -> bool:
    """Whether a pod has, or waits for, what it asks for: one that is evicted has given it back."""
    return not has_ended(pod) and not pod["metadata"].get("deletionTimestamp")


def makes_room(pods: Sequence[Object], new: Object, gpus_by_node: Mapping[str, int]) -> bool:
    """Whether the end of one of `pods` would let the scheduler place `new`, as far as can be known: it has a node where
    servers of the new spec may run, with GPUs enough, and of CPU, memory and the rest it holds no less."""
    wanted = _requests(new)
    for old in pods:
        node = str((old.get("spec") or {}).get("nodeName", ""))
        if node not in gpus_by_node or template_hash(old) == template_hash(new):
            continue
        held = _requests(old)
        if gpus_wanted(new) <= gpus_by_node[node] and all(
            wanted[name] <= held.get(name, 0) for name in short_of(new) if name in wanted
        ):
            return True
    return False


def _requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks for beside GPUs: sums of its containers."""
    found: dict[str, Decimal] = {}
    for container in (pod.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        for name, value in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            with suppress(ValueError):
                found[name] = found.get(name, Decimal(0)) + (Decimal(0) if is_gpu(name) else quantity(value))
    return found


def is_rolling(server: Object) -> bool:
    """Whether servers of an earlier template are still there."""
    status = server.get("status") or {}
    return not is_current(server) or (status.get("replicas") or 0) > (status.get("updatedReplicas") or 0)


def has_completed(server: Object) -> bool:
    """Whether the present template was once rolled out: then what fails now is no fault of the change."""
    return is_current(server) and condition_of(server, "Progressing").get("reason") == "NewReplicaSetAvailable"


def timed_out(server: Object) -> str:
    """Name of the ReplicaSet for which old servers went first, and of which no new one could come since: longer than
    the progress deadline. Empty where none did.

    Kubernetes goes on to say it of a Deployment that went back to another ReplicaSet, until one of that comes.
    """
    late = condition_of(server, "Progressing")
    recreates = (server["spec"].get("strategy") or {}).get("type") == "Recreate"
    if not is_current(server) or late.get("reason") != "ProgressDeadlineExceeded":
        return ""
    match = _TIMED_OUT.match(str(late.get("message", ""))) if recreates or deletes_first(server) else None
    return match[1] if match else ""


_TIMED_OUT = re.compile(r'ReplicaSet "([^"\n]{1,253})" has timed out progressing')


def deletes_first(server: Object) -> bool:
    """Whether a Deployment makes no server beside those that there are."""
    rolling = (server["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge") == 0


def order(server: Object) -> str:
    """In which order the servers of a Deployment are replaced, in words."""
    if (server["spec"].get("strategy") or {}).get("type") == "Recreate":
        return "all of before end first"
    if deletes_first(server):
        return "one of before ends first: no room for a new one beside it"
    return "a new one comes first"


def template_hash(obj: Object) -> str:
    """Which template of its Deployment a pod or a ReplicaSet is of."""
    return str((obj["metadata"].get("labels") or {}).get(_TEMPLATE_HASH, ""))


def _waits_for_volume(pod: Object, now: datetime) -> bool:
    """Whether a pod has a node and no sandbox: its volumes are mounted before. While an image is pulled it has one."""
    return (pod.get("status") or {}).get("phase") == "Pending" and (
        _since(pod, "PodReadyToStartContainers", "False", now) >= NO_VOLUME
    )


def _since(pod: Object, kind: str, status: str, now: datetime) -> timedelta:
    """For how long a condition of a pod has had this status; nothing where it has another."""
    found = condition_of(pod, kind)
    since = parse_time(found.get("lastTransitionTime")) if found.get("status") == status else None
    return now - since if since is not None else timedelta()


def create_failure(of: Object) -> str:
    """Why the API server refuses the pods of a Deployment or a ReplicaSet; empty when it does not. A Deployment repeats
    what befalls ReplicaSets of templates before, as long as it befalls these."""
    failure = condition_of(of, "ReplicaFailure")
    return str(failure.get("message", "")) if failure.get("status") == "True" else ""

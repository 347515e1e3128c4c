"""How servers of one template take the place of those of another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api import GROUP
from qwen3_operator.api.deployment import Rollout
from qwen3_operator.api.times import parse_time
from qwen3_operator.engine.diagnosis import waits_for_room

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
    rollout: Rollout, server: Object | None, pods: Sequence[Object], gpus_by_node: Mapping[str, int], now: datetime
) -> bool:
    """Whether an old server has to go before a new one can come: asked of the scheduler, which knows GPUs, quota,
    priorities and volumes, by trying.

    `pods`: of the servers, old and new. `gpus_by_node`: of the nodes where they may run. Once an old server went first
    it stays so until the roll-out is over.
    """
    if rollout.strategy != "Auto" or server is None or not is_rolling(server):
        return False
    if deletes_first(server):
        return True
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if len({template_hash(pod) for pod in living}) < 2:
        return _refused(server)
    return _refused(server) or any(_is_stuck(pod, gpus_by_node, now) for pod in living)


def is_rolling(server: Object) -> bool:
    """Whether servers of an earlier template are still there."""
    status = server.get("status") or {}
    current = status.get("observedGeneration") == server["metadata"].get("generation")
    return not current or (status.get("replicas") or 0) > (status.get("updatedReplicas") or 0)


def has_completed(server: Object) -> bool:
    """Whether the present template was once rolled out: then what fails now is no fault of the change."""
    conditions = (server.get("status") or {}).get("conditions") or ()
    progress: Object = next((c for c in conditions if c["type"] == "Progressing"), {})
    return progress.get("reason") == "NewReplicaSetAvailable"


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


def _is_stuck(pod: Object, gpus_by_node: Mapping[str, int], now: datetime) -> bool:
    status = pod.get("status") or {}
    conditions: Sequence[Object] = status.get("conditions") or ()
    placed: Object = next((c for c in conditions if c["type"] == "PodScheduled"), {})
    since = parse_time(placed.get("lastTransitionTime"))
    if since is None:
        return False
    if placed.get("status") == "False":
        return now - since >= NO_ROOM and waits_for_room(pod, gpus_by_node)
    begun = any("waiting" not in (c.get("state") or {}) for c in status.get("containerStatuses") or ())
    pulling = any(status.get("containerStatuses") or ())
    return status.get("phase") == "Pending" and not begun and not pulling and now - since >= NO_VOLUME


def _refused(server: Object) -> bool:
    """Whether the API server refuses one more pod: a quota."""
    conditions = (server.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in conditions)

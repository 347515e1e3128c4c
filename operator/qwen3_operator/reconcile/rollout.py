"""Going back to the servers that served, where those of a new spec fail for a reason that time does not heal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from qwen3_operator.api.conditions import condition_of, shorten
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import REPLICA_SETS
from qwen3_operator.controller.ownership import is_controlled_by
from qwen3_operator.desired.made_from import ANNOTATION, MadeFrom, made_from
from qwen3_operator.desired.rollout import RolledBack, create_failure, has_completed, template_hash, timed_out
from qwen3_operator.naming import DEPLOYMENT_LABEL
from qwen3_operator.reconcile.context import Context
from qwen3_operator.status.pods import PodView, Trouble, pod_trouble

_REVISION = "deployment.kubernetes.io/revision"


async def failed_rollout(
    context: Context, server: Object, pods: Sequence[PodView], refused: RolledBack | None
) -> tuple[RolledBack, MadeFrom] | None:
    """What to write on the Deployment whose newest servers failed, and what the servers to go back to are made from.

    None where nothing failed that needs a person, where the template was rolled out once, or where there is nothing to
    go back to. ReplicaSets carry what their servers were made from: their Deployment gave it to them. `refused`: the
    spec that was gone back from already, while this one is not tried.
    """
    present, late = made_from(server), timed_out(server)
    if present is None or has_completed(server) or not (late or _final(pods)):
        return None
    ours = await _replica_sets(context, server)
    newest = _of_present(server, ours)
    if newest is None:
        return None
    new = [view for view in pods if template_hash(view.pod) == template_hash(newest)]
    if any(condition_of(view.pod, "Ready").get("status") == "True" for view in new):
        return None  # the spec serves: what fails is one server, or its node
    trouble = _final(new) or (_never_came(new) if late == newest["metadata"]["name"] else None)
    before = [(it, made) for it in ours if it is not newest and (made := made_from(it)) is not None]
    if trouble is None or (before and before[0][1].inputs == present.inputs):
        return None  # kubectl rollout restart: it is not the spec that changed
    if refused is None:
        known = RolledBack(present.inputs, trouble.reason, shorten(trouble.message))
    else:
        known = replace(refused, also=(*refused.also, present.inputs))
    before = [(it, made) for it, made in before if made.inputs not in (known.inputs, *known.also)]
    before.sort(key=lambda pair: not pair[0].get("status", {}).get("readyReplicas"))  # those that serve first
    return (known, before[0][1]) if before else None


@dataclass(frozen=True)
class Present:
    """What the ReplicaSet of the Deployment's present template says, where there are servers of others as well."""

    template: str
    """Its pod-template-hash; empty before there is one."""
    pods_refused: str
    """The API server's words, where it takes no pod of it."""
    since: datetime | None = None
    """When it did first."""


async def present_servers(context: Context, server: Object) -> Present:
    """The present template's servers, as their ReplicaSet knows them: a Deployment's own status mixes all. Raises
    ApiError."""
    newest = _of_present(server, await _replica_sets(context, server))
    if newest is None:
        return Present("", "")
    since = parse_time(condition_of(newest, "ReplicaFailure").get("lastTransitionTime"))
    return Present(template_hash(newest), create_failure(newest), since)


async def _replica_sets(context: Context, server: Object) -> list[Object]:
    """Those of a Deployment, the newest first."""
    meta = server["metadata"]
    labels = f"{DEPLOYMENT_LABEL}={meta['name']}"
    found = await context.cluster.list(REPLICA_SETS, meta["namespace"], labels=labels, limit=50)
    ours = [it for it in found if is_controlled_by(it, meta["uid"])]
    return sorted(ours, key=_revision, reverse=True)


def _of_present(server: Object, replica_sets: Sequence[Object]) -> Object | None:
    """That of the Deployment's present template, which has its record; None where it is not made yet."""
    record = _record(server)
    return next((it for it in replica_sets if _record(it) == record), None)


def _record(obj: Object) -> str | None:
    return (obj["metadata"].get("annotations") or {}).get(ANNOTATION)


def _final(pods: Sequence[PodView]) -> Trouble | None:
    """The trouble of servers that have a node, where time will not heal it: one without is the scheduler's matter."""
    found = (pod_trouble([view]) for view in pods if view.placed)
    return next((trouble for trouble in found if trouble is not None and trouble.needs_a_person), None)


def _never_came(pods: Sequence[PodView]) -> Trouble | None:
    """Why no new server has a place, after the whole progress deadline; None where one has, and starts."""
    if any(view.placed for view in pods):
        return None
    words = "no new server could come within the progress deadline"
    # A node that is being added is too late: the old ones have room now.
    unplaced = [replace(view, node_coming=False) for view in pods if view.unplaced]
    return pod_trouble(unplaced) or Trouble(Reason.ENGINE_NOT_READY_IN_TIME, words)


def _revision(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(_REVISION, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

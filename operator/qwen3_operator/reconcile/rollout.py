"""Going back to the servers that served, where those of a new spec fail for a reason that time does not heal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qwen3_operator.api.conditions import shorten
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import REPLICA_SETS
from qwen3_operator.controller.ownership import controller_of
from qwen3_operator.desired.made_from import ANNOTATION, MadeFrom, made_from
from qwen3_operator.desired.rollout import RolledBack, has_completed, template_hash
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
    present = made_from(server)
    if present is None or has_completed(server) or not _needs_a_person(pods):
        return None
    meta = server["metadata"]
    found = await context.cluster.list(
        REPLICA_SETS, meta["namespace"], labels=f"{DEPLOYMENT_LABEL}={meta['name']}", limit=50
    )
    ours = [it for it in found if (controller_of(it) or {}).get("uid") == meta["uid"]]
    ours.sort(key=_revision, reverse=True)
    record = (meta.get("annotations") or {}).get(ANNOTATION)
    newest = next((it for it in ours if (it["metadata"].get("annotations") or {}).get(ANNOTATION) == record), None)
    if newest is None:
        return None
    trouble = _needs_a_person([view for view in pods if template_hash(view.pod) == template_hash(newest)])
    before = [(it, made) for it in ours if it is not newest and (made := made_from(it)) is not None]
    if trouble is None or any(made.inputs == present.inputs for _, made in before):
        return None  # kubectl rollout restart: it is not the spec that changed
    known = refused or RolledBack(present.inputs, trouble.reason, shorten(trouble.message))
    if refused is not None:
        known = replace(refused, also=(*refused.also, present.inputs))
    before = [(it, made) for it, made in before if made.inputs not in (known.inputs, *known.also)]
    before.sort(key=lambda pair: not pair[0].get("status", {}).get("readyReplicas"))  # those that serve first
    return (known, before[0][1]) if before else None


def _needs_a_person(pods: Sequence[PodView]) -> Trouble | None:
    """The trouble of servers that have a node: one without is the scheduler's matter, and may come."""
    trouble = pod_trouble([view for view in pods if view.placed])
    return trouble if trouble is not None and trouble.needs_a_person else None


def _revision(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(_REVISION, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

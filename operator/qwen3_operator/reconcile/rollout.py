"""Going back to the servers that served, where those of a new spec fail for a reason that time does not heal."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import REPLICA_SETS
from qwen3_operator.controller.ownership import controller_of
from qwen3_operator.desired.made_from import ANNOTATION, MadeFrom, made_from
from qwen3_operator.desired.rollout import template_hash
from qwen3_operator.naming import DEPLOYMENT_LABEL
from qwen3_operator.reconcile.context import Context
from qwen3_operator.status.pods import PodView, Trouble, pod_trouble

_REVISION = "deployment.kubernetes.io/revision"


async def failed_rollout(context: Context, server: Object, pods: Sequence[PodView]) -> tuple[Trouble, MadeFrom] | None:
    """What is wrong with the servers of the newest template, and what the ones before were made from.

    None where nothing is wrong that needs a person, or where there is nothing to go back to. ReplicaSets carry what
    their servers were made from: their Deployment gave it to them.
    """
    if not _needs_a_person(pods):
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
    present = made_from(server)
    before = [made for it in ours if it is not newest and (made := made_from(it)) is not None]
    before = [made for made in before if present is None or made.inputs != present.inputs]
    return (trouble, before[0]) if trouble and before else None


def _needs_a_person(pods: Sequence[PodView]) -> Trouble | None:
    """The trouble of servers that have a node: one without is the scheduler's matter, and may come."""
    trouble = pod_trouble([view for view in pods if view.placed])
    return trouble if trouble is not None and trouble.needs_a_person else None


def _revision(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(_REVISION, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

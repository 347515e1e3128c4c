"""Sharing one Qwen3Model among many Qwen3Deployments.

Each user holds the model by one plain ownerReference, applied by a field manager of its own; the garbage collector
removes the model (and, under Delete, the claim) when the last holder is gone. No finalizer, no count.
"""

from __future__ import annotations

from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.cluster import ApiError, Object
from qwen3_operator.kinds import CLAIMS, Kind
from qwen3_operator.naming import MANAGED_BY, MANAGER, QWEN3_MODELS, owner_reference, user_manager
from qwen3_operator.reconcile.context import Context


async def hold(context: Context, live: Object | None, wanted: Object, name: str, uid: str) -> Object:
    """Have the model `wanted` and hold it for the Qwen3Deployment `name`. Returns it as it is in the cluster.

    Users may differ in what does not make the model another one (token, mirror, size, scheduling): the first holder
    decides that, so two users never write against each other.
    """
    holders = _owners(live)
    if not holders or holders[0]["uid"] == uid:
        live = await context.ensure(QWEN3_MODELS, wanted, seen=live)
    assert live is not None
    reference = owner_reference(Qwen3Deployment.KIND, API_VERSION, name, uid, controller=False)
    live = await _add_reference(context, QWEN3_MODELS, live, reference)
    if (live["spec"].get("storage") or {}).get("retentionPolicy") == "Delete":
        claim = await context.cluster.get(CLAIMS, live["metadata"]["namespace"], live["metadata"]["name"])
        if claim is not None:
            await _add_reference(context, CLAIMS, claim, reference)
    return live


async def release(context: Context, namespace: str, name: str, uid: str) -> None:
    """Let go of the model `name`; without any holder left it is deleted."""
    live = await context.cluster.get(QWEN3_MODELS, namespace, name)
    if live is None or live["metadata"].get("labels", {}).get(MANAGED_BY) != MANAGER:
        return
    if all(owner["uid"] == uid for owner in _owners(live)):
        meta = live["metadata"]
        # With the version: a user that takes hold at this moment keeps it.
        await context.cluster.delete(
            QWEN3_MODELS, namespace, name, uid=meta["uid"], resource_version=meta["resourceVersion"]
        )
        return
    for kind in (QWEN3_MODELS, CLAIMS):
        held = await context.cluster.get(kind, namespace, name)
        if held is not None and any(owner["uid"] == uid for owner in _owners(held)):
            meta = {"namespace": namespace, "name": name, "uid": held["metadata"]["uid"]}
            await context.cluster.apply(kind, {"metadata": meta}, manager=user_manager(uid))


async def _add_reference(context: Context, kind: Kind, live: Object, reference: dict[str, Any]) -> Object:
    if any(owner["uid"] == reference["uid"] for owner in _owners(live)):
        return live
    meta = live["metadata"]
    # With the uid: should the object be another by now, or gone, nothing is made of this alone.
    holder = {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"], "ownerReferences": [reference]}
    try:
        return await context.cluster.apply(kind, {"metadata": holder}, manager=user_manager(reference["uid"]))
    except ApiError as error:
        if error.status in (404, 409, 422):  # deleted meanwhile: the next look makes it anew
            return live
        raise


def _owners(obj: Object | None) -> list[dict[str, Any]]:
    owners: list[dict[str, Any]] = (obj or {}).get("metadata", {}).get("ownerReferences") or []
    return owners

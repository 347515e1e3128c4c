"""Sharing one Qwen3Model among many Qwen3Deployments and Qwen3Batches.

Each user holds the model by one plain ownerReference, applied by a field manager of its own; the garbage collector
removes the model (and, under Delete, the claim) when the last holder is gone. No finalizer, no count.
"""

from __future__ import annotations

from typing import Any

from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, Kind
from qwen3_operator.naming import MANAGED_BY, MANAGER, QWEN3_MODELS, owner_reference, user_manager
from qwen3_operator.reconcile.context import Context


async def hold(context: Context, live: Object | None, wanted: Object, kind: Kind, name: str, uid: str) -> Object:
    """Have the model `wanted` and hold it for the user `name` of `kind`. Returns it as it is in the cluster.

    Users may differ in what does not make the model another one (token, mirror, size, scheduling): the first holder
    decides that, so two users never write against each other.
    """
    reference = owner_reference(kind.kind, kind.api_version, name, uid, controller=False)
    if live is None:
        # In one write: a model without a holder, left by a crash between two, would download and stay for ever.
        held = wanted | {"metadata": wanted["metadata"] | {"ownerReferences": [reference]}}
        live = await context.cluster.apply(QWEN3_MODELS, held, manager=user_manager(uid))
    holders = _owners(live)
    if not holders or holders[0]["uid"] == uid:
        live = await context.change(QWEN3_MODELS, live, wanted)
    live = await _add_reference(context, QWEN3_MODELS, live, reference)
    await hold_claim(context, live, kind, name, uid)
    return live


async def hold_claim(context: Context, model: Object, kind: Kind, name: str, uid: str) -> None:
    """Hold the claim of a model under Delete: it stays while the user is there, though the model may be deleted."""
    if (model["spec"].get("storage") or {}).get("retentionPolicy") == "Delete":
        claim = await context.cluster.get(CLAIMS, model["metadata"]["namespace"], model["metadata"]["name"])
        if claim is not None:
            reference = owner_reference(kind.kind, kind.api_version, name, uid, controller=False)
            await _add_reference(context, CLAIMS, claim, reference)


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
    if any(owner["uid"] == reference["uid"] for owner in _owners(live)) and not _owns_spec(live, reference["uid"]):
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


def _owns_spec(live: Object, uid: str) -> bool:
    """Whether this user's field manager still holds the spec, as after it made the object: it keeps the reference only,
    since a field that two managers hold stays when one of them no longer wants it."""
    managed = live["metadata"].get("managedFields") or []
    return any(m["manager"] == user_manager(uid) and "f:spec" in (m.get("fieldsV1") or {}) for m in managed)


def _owners(obj: Object | None) -> list[dict[str, Any]]:
    owners: list[dict[str, Any]] = (obj or {}).get("metadata", {}).get("ownerReferences") or []
    return owners

"""Who holds which model and which claim, settled from what is wanted and used now.

A holder is a plain ownerReference: the garbage collector removes a model that was made for its users (and under Delete
the claim) when the last holder is gone. No finalizer, no count. All references of one object are applied by one field
manager, so a thousand users that come at once are a few writes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, Kind
from qwen3_operator.controller.ownership import controller_of
from qwen3_operator.controller.store import OWNER, Name
from qwen3_operator.naming import (
    MANAGED_BY,
    MANAGER,
    MODEL_LABEL,
    QWEN3_BATCHES,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    model_labels,
    owner_reference,
)
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.watched import BY_MODEL, BY_RETAINING, in_namespace

HOLDERS_MANAGER = f"{MANAGER}-holders"
"""Field manager of the ownerReferences of holders."""
_USERS = (QWEN3_DEPLOYMENTS, QWEN3_BATCHES)
MOST_CONFLICTS = 4
CONFLICT_SECONDS = 0.02
"""Longest wait after the first conflict; each later one may wait twice as long."""


def reference_to(kind: Kind, user: Object) -> dict[str, Any]:
    """The ownerReference by which `user` holds something."""
    meta = user["metadata"]
    return owner_reference(kind.kind, kind.api_version, meta["name"], meta["uid"], controller=False)


def is_made_for_users(model: Object) -> bool:
    """Whether the operator made it; others are their maker's to change and to delete."""
    return bool((model["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER)


def holders_of(obj: Object) -> list[dict[str, Any]]:
    """Its ownerReferences."""
    owners: list[dict[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return owners


def is_of_user(reference: Object) -> bool:
    """Whether an ownerReference is that of a user, and not that of a claim to its model."""
    return reference["kind"] in [kind.kind for kind in _USERS]


def holds(obj: Object, uid: str) -> bool:
    """Whether the user with this uid holds it."""
    return any(owner["uid"] == uid for owner in holders_of(obj))


def decides(model: Object, uid: str) -> bool:
    """Whether it is this user whose token, endpoint, size and scheduling count: the first that holds the model."""
    return not holders_of(model) or bool(holders_of(model)[0]["uid"] == uid)


async def add_holders(context: Context, kind: Kind, live: Object, references: Sequence[dict[str, Any]]) -> Object:
    """Have `references` among the holders of what was seen as `live`: a model made for users, or the claim of a model.

    Raises NameTaken, ApiError (409) where others write it all the time.
    """

    async def add(there: Object) -> Object:
        return await _add(context, kind, there, references)

    return await _on_what_is_there(context, kind, live, add) or live


async def _on_what_is_there(
    context: Context, kind: Kind, seen: Object, write: Callable[[Object], Awaitable[Object]], *, read: bool = False
) -> Object | None:
    """The answer to `write`, which is given what was `seen`, or (after `read`, or where somebody wrote it meanwhile)
    what is there now; None where it is gone. A download's progress is a write too, and so is each other user's.

    Raises ApiError (409) where others write it all the time.
    """
    meta, there = seen["metadata"], seen
    for conflicts in range(MOST_CONFLICTS + 1):
        if read or conflicts:
            now = await context.cluster.get(kind, meta["namespace"], meta["name"])
            if now is None:
                context.forget(kind, meta)
                return None
            there = context.keep(kind, now)
        try:
            return await write(there)
        except ApiError as error:
            if error.status != 409 or conflicts == MOST_CONFLICTS:
                raise
        await asyncio.sleep(random.uniform(0, CONFLICT_SECONDS * 2**conflicts))
    return None


async def _add(context: Context, kind: Kind, live: Object, references: Sequence[dict[str, Any]]) -> Object:
    known = {owner["uid"] for owner in holders_of(live)}
    new = [reference for reference in references if reference["uid"] not in known]
    if not new:
        return live
    labels = model_labels(live["metadata"]["name"]) if kind == CLAIMS else {MANAGED_BY: MANAGER}
    context.prove(kind, live, {"metadata": {"labels": labels}})
    return await _apply(context, kind, live, [*holders_of(live), *new])


async def settle(context: Context, kind: Kind, user: Object, keep: Collection[str]) -> None:
    """Let go of every model and every claim of a model that `user` holds, but for the models called `keep`.

    A claim is held under Delete alone: whoever retains it does not want it to go with anybody.
    Raises ApiError (409) where somebody takes hold at this very moment.
    """
    namespace, uid = user["metadata"]["namespace"], user["metadata"]["uid"]
    for model in context.store.find(QWEN3_MODELS, OWNER, uid):
        if model["metadata"]["name"] not in keep:
            await _release(context, QWEN3_MODELS, model, uid)
    for claim in context.store.find(CLAIMS, OWNER, uid):
        if controller_of(claim) is not None:  # a compile cache is the user's alone
            continue
        name = (claim["metadata"].get("labels") or {}).get(MODEL_LABEL, "")
        held = context.store.get(QWEN3_MODELS, namespace, name)
        if name not in keep or (held is not None and retention(context, held) == "Retain"):
            await _release(context, CLAIMS, claim, uid)


def retention(context: Context, model: Object) -> str:
    """Delete where the model and all its users say so; else Retain, as for one that cannot be read."""
    if ((model.get("spec") or {}).get("storage") or {}).get("retentionPolicy") != "Delete":
        return "Retain"
    return "Retain" if is_made_for_users(model) and _has_user_who_retains(context, model) else "Delete"


def _has_user_who_retains(context: Context, model: Object) -> bool:
    """Each of thousands of users asks, so none of them is read for it."""
    return any(
        not context.store.names_with(kind, BY_RETAINING, model["metadata"]["namespace"]).isdisjoint(names)
        for kind in _USERS
        for names in _names_of_users(context, kind, model)
    )


def users_of(context: Context, model: Object) -> list[Object]:
    """Qwen3Deployments and Qwen3Batches that hold the model, name it, or serve from it; each once."""
    found = [
        user
        for kind in _USERS
        for namespace, name in set().union(*_names_of_users(context, kind, model))
        if (user := context.store.get(kind, namespace, name))
    ]
    return sorted(found, key=lambda user: str(user["metadata"]["name"]))


def _names_of_users(context: Context, kind: Kind, model: Object) -> tuple[AbstractSet[Name], AbstractSet[Name]]:
    """Those of a kind that name the model or serve from it, and those that hold it."""
    namespace, name = model["metadata"]["namespace"], model["metadata"]["name"]
    held = {(namespace, owner["name"]) for owner in holders_of(model) if owner["kind"] == kind.kind}
    return context.store.names_with(kind, BY_MODEL, in_namespace(namespace, name)), held


async def _release(context: Context, kind: Kind, seen: Object, uid: str) -> None:
    """Take one holder away, from what is there now; a model made for users that has no other is deleted."""

    async def release(live: Object) -> Object:
        others = [owner for owner in holders_of(live) if owner["uid"] != uid]
        if len(others) == len(holders_of(live)):
            return live
        if kind == QWEN3_MODELS and not others and is_made_for_users(live):
            await context.delete_as_read(kind, live)
            return live
        # No apply: a reference stays while any field manager wants it, and beside that of all holders these may be the
        # one that made the model and, in an earlier release, one for each user.
        meta = {key: live["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
        left = {"metadata": meta | {"ownerReferences": others}}
        return context.keep(kind, await context.cluster.merge(kind, left, manager=HOLDERS_MANAGER))

    await _on_what_is_there(context, kind, seen, release, read=True)


async def _apply(context: Context, kind: Kind, live: Object, references: list[dict[str, Any]]) -> Object:
    """Have `references` as those of users; others, like that of a claim to its model, are not this manager's."""
    references = [reference for reference in references if is_of_user(reference)]
    meta = {key: live["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
    wanted = {"metadata": meta | {"ownerReferences": references}}
    return context.keep(kind, await context.cluster.apply(kind, wanted, manager=HOLDERS_MANAGER))

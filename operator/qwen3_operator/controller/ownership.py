"""Whose an object is: proved by its controller, never by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import Kind

Object = Mapping[str, Any]


class NameTaken(ApiError):
    """An object of somebody else has the name of one of ours: it is neither written nor deleted."""

    final = True

    def __init__(self, kind: Kind, live: Object) -> None:
        self.name = str(live["metadata"]["name"])
        words = f"{kind.kind} {self.name} is there already and not ours: {owner_in_words(live)}"
        super().__init__(409, "NameTaken", words)

    def __str__(self) -> str:
        return self.message


class OwnerGoing(ApiError):
    """The object belongs to one of our name that was deleted, and goes as well: then the name is free."""

    final = False

    def __init__(self, kind: Kind, live: Object) -> None:
        words = f"{kind.kind} {live['metadata']['name']} of the one before is still being deleted"
        super().__init__(409, "OwnerGoing", words)


def controller_of(obj: Object) -> Mapping[str, Any] | None:
    """The ownerReference of the object's controller."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def is_controlled_by(obj: Object | None, uid: str) -> bool:
    """Whether an object is there, and its controller is the one with this uid."""
    return obj is not None and (controller_of(obj) or {}).get("uid") == uid


def prove_ours(kind: Kind, live: Object, desired: Object, labels: Mapping[str, str]) -> None:
    """Check that `live` is the object that `desired` describes. Raises NameTaken, OwnerGoing.

    The proof is the controller that `desired` names. What has none (a claim that outlives its model) is proved by an
    owner that both have, or by `labels`, which say for what it was made.
    """
    wanted, found = controller_of(desired), controller_of(live)
    if wanted is None:
        owners = {owner["uid"] for owner in desired["metadata"].get("ownerReferences") or ()}
        shared = any(owner["uid"] in owners for owner in live["metadata"].get("ownerReferences") or ())
        if found is None and (shared or labels.items() <= (live["metadata"].get("labels") or {}).items()):
            return
    elif found is not None:
        if found["uid"] == wanted["uid"]:
            return
        if all(found.get(key) == wanted[key] for key in ("apiVersion", "kind", "name")):
            raise OwnerGoing(kind, live)
    raise NameTaken(kind, live)


def owner_in_words(live: Object) -> str:
    """Who made an object, as far as it says."""
    if owner := controller_of(live):
        return f"it belongs to {owner['kind']} {owner['name']}"
    labels = live["metadata"].get("labels") or {}
    release = (live["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name")
    if release:
        return f"it belongs to the Helm release {release}"
    if manager := labels.get("app.kubernetes.io/managed-by"):
        return f"it is managed by {manager}"
    return "it has no owner"

"""The PersistentVolumeClaim that keeps what torch.compile made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.engine import CompileCache
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.desired.claim import is_bound, requested
from qwen3_operator.desired.drift import stamped, up_to_date

Object = Mapping[str, Any]


def cache_claim_name(name: str) -> str:
    """Claim of the Qwen3Deployment `name`."""
    return f"{name}-compile-cache"


def cache_claim(
    namespace: str, name: str, uid: str, cache: CompileCache, live: Object | None = None, *, grows: bool = True
) -> dict[str, Any]:
    """The claim; it goes with the Qwen3Deployment, since it can be made again.

    `live`: the claim as it is. What cannot change in one stays as it is there, and so does its size unless it `grows`:
    asking for more than the API server allows would be refused as a whole.
    """
    claim: dict[str, Any] = {
        "metadata": child_metadata(namespace, name, uid, cache_claim_name(name)),
        "spec": _spec_of_new(cache) if live is None else _spec_like(live, cache, grows=grows and is_bound(live)),
    }
    given = live["spec"].get("storageClassName") if live is not None else None
    if given and not up_to_date(dict(live or {}), stamped(claim)):
        # Applied once, it has to be applied for ever: left out, it would be taken away, which is refused.
        claim["spec"]["storageClassName"] = given
    return claim


def wants_more(cache: CompileCache, live: Object | None) -> bool:
    """Whether the claim is to grow."""
    has = requested(live)
    return bool(has) and quantity(cache.size) > quantity(has)


def _spec_of_new(cache: CompileCache) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": [cache.access_mode],
        "resources": {"requests": {"storage": str(cache.size)}},
    }
    return spec | ({"storageClassName": cache.storage_class_name} if cache.storage_class_name else {})


def _spec_like(live: Object, cache: CompileCache, *, grows: bool) -> dict[str, Any]:
    has, wanted = requested(live), str(cache.size)
    kept = has and quantity(has) != quantity(wanted) and not (grows and wants_more(cache, live))
    modes = live["spec"].get("accessModes") or [cache.access_mode]
    return {"accessModes": modes, "resources": {"requests": {"storage": has if kept else wanted}}}

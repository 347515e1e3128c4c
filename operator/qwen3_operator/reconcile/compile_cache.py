"""The claim of a Qwen3Deployment's compile cache. It is never in the way of the servers that have one."""

from __future__ import annotations

from dataclasses import replace

from qwen3_operator.api.engine import CompileCache
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, STORAGE_CLASSES
from qwen3_operator.controller.ownership import NameTaken, is_controlled_by
from qwen3_operator.desired.compile_cache import cache_claim, cache_claim_name, wants_more
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.status.without_effect import of_compile_cache


async def ensure_compile_cache(context: Context, owner: Object, cache: CompileCache | None) -> list[Problem]:
    """Have the claim while the cache is enabled. Returns problems, and warnings about fields that have no effect.

    One that nobody uses any more is kept: the operator has no right to delete claims.
    """
    meta = owner["metadata"]
    namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
    if cache is None or not cache.enabled:
        return of_compile_cache(cache, context.own(CLAIMS, namespace, cache_claim_name(name), uid))
    seen = await context.observe(CLAIMS, namespace, cache_claim_name(name))
    live = seen if is_controlled_by(seen, uid) else None
    fixed_class = await class_without_growth(context, live) if live is not None and wants_more(cache, live) else ""
    # Nobody watches the class: it is read again while it is in the way.
    warnings = [replace(it, retried=bool(fixed_class)) for it in of_compile_cache(cache, live, fixed_class)]
    try:
        await context.change(CLAIMS, seen, cache_claim(namespace, name, uid, cache, live, grows=not fixed_class))
    except NameTaken as error:
        return [refused(CLAIMS, cache_claim_name(name), error)]
    except ApiError as error:
        problem = refused(CLAIMS, cache_claim_name(name), error)
        if live is None:
            return [problem]
        # The servers have a cache, though not the one that was asked for.
        field = "spec.engine.compileCache"
        return [*warnings, replace(problem, field=field, severity="warning", retried=True)]
    return warnings


async def class_without_growth(context: Context, claim: Object) -> str:
    """The claim's StorageClass, where that does not let it grow, as far as it may be read."""
    if not context.settings.read_cluster:
        return ""
    name = str(claim["spec"].get("storageClassName") or "")
    found = await context.cluster.get(STORAGE_CLASSES, None, name) if name else None
    return "" if (found or {}).get("allowVolumeExpansion") else name or '""'

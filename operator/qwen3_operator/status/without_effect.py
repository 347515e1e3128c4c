"""Fields of a spec that cannot take effect, because a claim is there and cannot become what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.conditions import Type
from qwen3_operator.api.engine import CompileCache
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.claim import requested
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.model_ready import model_condition

Object = Mapping[str, Any]

_CACHE = "spec.engine.compileCache"
_WAYS = "take the field back, or turn the cache off, delete the claim, and turn the cache on again"


def of_model(spec: Qwen3ModelSpec, claim: Object | None) -> list[Problem]:
    """What of a Qwen3Model's spec its claim cannot follow."""
    size, has = spec.storage.size, requested(claim)
    if spec.storage.existing_claim is not None or size is None or not has or quantity(size) >= quantity(has):
        return []
    return [_smaller("spec.storage.size", str(size), claim, has)]


def of_shared_model(model: Object | None) -> list[Problem]:
    """What a Qwen3Model says of its own spec, for its users: it has their words."""
    accepted = model_condition(model, Type.ACCEPTED)
    if model is None or accepted.get("reason") != Reason.ACCEPTED_WITH_WARNINGS:
        return []
    words = f"Qwen3Model {model['metadata']['name']}: {accepted.get('message', '')}"
    return [_warning(Reason.ACCEPTED_WITH_WARNINGS, words, "spec.model")]


def of_compile_cache(cache: CompileCache | None, claim: Object | None, fixed_class: str = "") -> list[Problem]:
    """What of the compile cache's fields the claim cannot follow, and that it is there although nobody uses it.

    `fixed_class`: the claim's StorageClass, where that does not let it grow.
    """
    if claim is None:
        return []
    name, has = claim["metadata"]["name"], requested(claim)
    if cache is None or not cache.enabled:
        words = f"{_CACHE} is off, and its claim {name} ({has}) is kept: kubectl delete pvc {name} frees it"
        return [_warning(Reason.CLAIM_UNUSED, words, _CACHE)]
    found = []
    modes, storage_class = claim["spec"].get("accessModes") or [], claim["spec"].get("storageClassName")
    if modes and cache.access_mode not in modes:
        found.append(_fixed("accessMode", cache.access_mode, ", ".join(modes), name))
    if cache.storage_class_name and storage_class and cache.storage_class_name != storage_class:
        found.append(_fixed("storageClassName", cache.storage_class_name, storage_class, name))
    if has and quantity(cache.size) < quantity(has):
        found.append(_smaller(f"{_CACHE}.size", str(cache.size), claim, has))
    elif has and quantity(cache.size) > quantity(has) and fixed_class:
        grows = f"StorageClass {fixed_class} does not let claim {name} ({has}) grow"
        words = f"{_CACHE}.size is {cache.size}, but {grows}: {_WAYS}"
        found.append(_warning(Reason.FIELD_WITHOUT_EFFECT, words, f"{_CACHE}.size"))
    return found


def _fixed(name: str, wanted: str, has: str, claim: str) -> Problem:
    words = f"{_CACHE}.{name} is {wanted}, but claim {claim} has {has}, and that cannot change: {_WAYS}"
    return _warning(Reason.FIELD_WITHOUT_EFFECT, words, f"{_CACHE}.{name}")


def _smaller(where: str, wanted: str, claim: Object | None, has: str) -> Problem:
    name = (claim or {})["metadata"]["name"]
    words = f"{where} is {wanted}, but claim {name} has {has}, and a claim cannot shrink: the field has no effect"
    return _warning(Reason.SIZE_WITHOUT_EFFECT, words, where)


def _warning(reason: Reason, words: str, where: str) -> Problem:
    return Problem(reason, words, where, "warning")

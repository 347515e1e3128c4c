"""Secrets and ConfigMaps that an object names: whether they are there, and in which version.

The only place that reads a Secret, and only where the setting read_secrets and the cluster's rights allow it: without
them the kubelet says what is missing, and `engine.diagnosis` reads its words. Of a Secret's content nothing leaves this
module but whether it is another than before.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CONFIG_MAPS, SECRETS, Kind
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import digest
from qwen3_operator.reconcile.context import Context

_FORBIDDEN: Object = {}


@dataclass(frozen=True)
class Reference:
    """A key of a Secret or ConfigMap, and the field that names it."""

    kind: Kind
    name: str
    key: str
    """Empty: any."""
    field: str


@dataclass(frozen=True)
class References:
    """What was found of the wanted references; `versions`, `digests` and `fingerprints` are in their order."""

    problems: tuple[Problem, ...] = ()
    """Secrets, ConfigMaps and keys that are not there."""
    versions: tuple[str, ...] = ()
    """resourceVersions: they change with the content. Empty for what is not there or may not be read."""
    digests: tuple[str, ...] = ()
    """Hash of what a ConfigMap has under the key; empty for what is not there, and always for a Secret."""
    fingerprints: tuple[str, ...] = ()
    """Of a Secret's value under the key, or of all that is in it: another value has another one. Empty for what is not
    there or may not be read, and always for a ConfigMap."""


async def find_references(context: Context, namespace: str, wanted: Sequence[Reference]) -> References:
    """Read what `wanted` names in `namespace`, each object once. Raises ApiError."""
    readable = {(it.kind, it.name) for it in wanted if it.kind != SECRETS or context.settings.read_secrets}
    names = sorted(readable, key=lambda pair: (pair[0].kind, pair[1]))
    read = await asyncio.gather(*(_read(context, kind, namespace, name) for kind, name in names))
    found = {name: obj for name, obj in zip(names, read, strict=True) if obj is not _FORBIDDEN}
    problems = [_problem(it, found[it.kind, it.name]) for it in wanted if (it.kind, it.name) in found]
    objects = [found.get((it.kind, it.name)) for it in wanted]
    return References(
        problems=tuple(problem for problem in problems if problem is not None),
        versions=tuple(str(obj["metadata"]["resourceVersion"]) if obj else "" for obj in objects),
        digests=tuple(_digest(it, obj) for it, obj in zip(wanted, objects, strict=True)),
        fingerprints=tuple(_fingerprint(it, obj) for it, obj in zip(wanted, objects, strict=True)),
    )


async def _read(context: Context, kind: Kind, namespace: str, name: str) -> Object | None:
    """The object; _FORBIDDEN for a Secret that the cluster keeps from the operator: it is left to the kubelet."""
    try:
        return await context.cluster.get(kind, namespace, name)
    except ApiError as error:
        if kind == SECRETS and error.status == 403:
            return _FORBIDDEN
        raise


def _problem(wanted: Reference, obj: Object | None) -> Problem | None:
    """What is not there; of the keys only the one that is missing is named."""
    kind, name = wanted.kind.kind, wanted.name
    if obj is None:
        words = f"{kind} {name} does not exist: create it, or correct its name"
        return Problem(Reason.of(f"{kind}NotFound"), words, wanted.field)
    keys = _content(obj)
    if not wanted.key and not keys:
        return Problem(Reason.of(f"{kind}KeyNotFound"), f"{kind} {name} is empty: add a key", wanted.field)
    if not wanted.key or wanted.key in keys:
        return None
    return Problem(Reason.of(f"{kind}KeyNotFound"), f"{kind} {name} has no key {wanted.key}: add it", wanted.field)


def _digest(wanted: Reference, obj: Object | None) -> str:
    if wanted.kind != CONFIG_MAPS or obj is None or _problem(wanted, obj) is not None:
        return ""
    return digest(_content(obj).get(wanted.key))


def _content(obj: Object) -> dict[str, str]:
    """What is in it, by key; what is no UTF-8 text a ConfigMap has elsewhere, in base64."""
    return {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}


def _fingerprint(wanted: Reference, obj: Object | None) -> str:
    """By the Secret's uid, which nobody knows who may not read it: of a short password no guess can be tried on it."""
    if wanted.kind != SECRETS or obj is None or _problem(wanted, obj) is not None:
        return ""
    data = obj.get("data") or {}
    value = json.dumps(data.get(wanted.key) if wanted.key else data, sort_keys=True)
    return hmac.new(str(obj["metadata"]["uid"]).encode(), value.encode(), hashlib.sha256).hexdigest()[:16]

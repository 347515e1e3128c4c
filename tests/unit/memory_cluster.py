"""An API server in memory, for reconcilers: server-side apply by field manager, preconditions, garbage collection."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path as File
from typing import Any

import yaml
from tests.cluster.rights import Right, granted

from qwen3_operator.controller.cluster import ApiError, Name
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import MANAGED_BY, MANAGER
from qwen3_operator.reconcile.watched import CHILDREN, WATCHED

Object = dict[str, Any]
Path = tuple[str, ...]

_MANIFESTS = File(__file__).parents[2] / "deploy/base/operator.yaml"
_RIGHTS = granted(yaml.safe_load_all(_MANIFESTS.read_text()), "qwen3-operator")
_WITH_RIGHTS = {(right.group, right.resource) for right in _RIGHTS}


class MemoryCluster:
    """What `Cluster` does, on objects in a dict. Label selectors are of equality; ownerReferences merge by uid.

    A request for which the installed operator has no right fails the test.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.reads: Counter[str] = Counter()
        self.writes: list[tuple[str, str, str]] = []
        """(verb, kind, name)."""
        self.pod_logs: dict[str, str] = {}
        self.logs_read: list[tuple[str, int]] = []
        """(pod, bytes asked for)."""
        self.unknown: set[Kind] = set()
        """Kinds that are not served."""
        self._applied: dict[str, dict[str, Object]] = {}
        self._version = 0

    def put(self, kind: Kind, obj: Object) -> Object:
        """Have an object as another hand made it; returns it as it is kept."""
        stored = copy.deepcopy(obj) | {"apiVersion": kind.api_version, "kind": kind.kind}
        meta = stored["metadata"]
        self._version += 1
        meta.setdefault("uid", f"{kind.kind}-{meta['name']}-{self._version}")
        meta.setdefault("generation", 1)
        meta.setdefault("creationTimestamp", f"2026-01-01T00:{self._version // 60:02d}:{self._version % 60:02d}Z")
        meta["resourceVersion"] = str(self._version)
        self.objects[kind.kind, meta.get("namespace", ""), meta["name"]] = stored
        return stored

    def show(self, store: Store) -> None:
        """What the watches would show."""
        for kind in WATCHED:
            for obj in self.of(kind):
                if kind not in CHILDREN or (obj["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
                    store.put(kind, copy.deepcopy(obj))

    def of(self, kind: Kind) -> list[Object]:
        """All objects of a kind, as they are kept."""
        return [obj for (name, _, _), obj in self.objects.items() if name == kind.kind]

    async def names(self, kind: Kind, namespace: str | None, *, labels: str) -> Sequence[Name]:
        if kind in self.unknown:
            raise ApiError(404, "NotFound", "404 page not found")
        metas = [obj["metadata"] for obj in await self.list(kind, namespace, labels=labels)]
        return [Name(m.get("namespace", ""), m["name"], m["uid"], m["resourceVersion"]) for m in metas]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        _need("get", kind)
        self.reads[f"get {kind.kind}"] += 1
        return copy.deepcopy(self.objects.get((kind.kind, namespace or "", name)))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int | None = None,
        only: Callable[[Object], bool] = lambda _: True,
    ) -> list[Object]:
        _need("list", kind)
        self.reads[f"list {kind.kind}"] += 1
        wanted = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
        found = (
            copy.deepcopy(obj)
            for obj in self.of(kind)
            if namespace in (None, obj["metadata"].get("namespace"))
            and wanted.items() <= (obj["metadata"].get("labels") or {}).items()
            and all(_has(obj, *pair.split("=", 1)) for pair in fields.split(",") if pair)
        )
        return list(islice(filter(only, found), limit))

    async def apply(
        self,
        kind: Kind,
        obj: Object,
        *,
        manager: str,
        subresource: str | None = None,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        meta = obj["metadata"]
        _need("patch", kind, subresource)
        if dry_run:
            _need("create", kind)
            return copy.deepcopy(obj)
        key = (kind.kind, meta["namespace"], meta["name"])
        live = self.objects.get(key)
        self.writes.append(("apply", kind.kind + (f"/{subresource}" if subresource else ""), meta["name"]))
        if live is None and (subresource or meta.get("uid")):
            raise ApiError(404 if subresource else 409, "NotFound", "it is not there")
        if live is None:
            _need("create", kind)
            live = self.put(kind, {"metadata": {"namespace": meta["namespace"], "name": meta["name"]}})
        if not subresource and meta.get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "it is another object")
        if meta.get("resourceVersion", live["metadata"]["resourceVersion"]) != live["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it was changed")
        if subresource:
            live["status"] = copy.deepcopy(obj["status"])
        else:
            self._apply(live, obj, manager)
        self._version += 1
        live["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(live)

    async def merge(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        """Lists are replaced whole, whoever applied what was in them."""
        _need("patch", kind)
        meta = obj["metadata"]
        live = self.objects.get((kind.kind, meta["namespace"], meta["name"]))
        self.writes.append(("patch", kind.kind, meta["name"]))
        if live is None:
            raise ApiError(404, "NotFound", "it is not there")
        if any(meta.get(key, live["metadata"][key]) != live["metadata"][key] for key in ("uid", "resourceVersion")):
            raise ApiError(409, "Conflict", "it was changed")
        if "ownerReferences" in meta:
            kept = {reference["uid"] for reference in meta["ownerReferences"]}
            for theirs in self._applied.get(live["metadata"]["uid"], {}).values():
                for path in [p for p in _leaves(theirs) if "ownerReferences" in p and p[-1] not in kept]:
                    _remove(theirs, path)
            live["metadata"].pop("ownerReferences", None)
        _merge(live, {key: value for key, value in obj.items() if key in ("metadata", "spec")})
        self._version += 1
        live["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(live)

    async def create(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        meta = obj["metadata"]
        _need("create", kind)
        self.writes.append(("create", kind.kind, meta["name"]))
        if (kind.kind, meta.get("namespace"), meta["name"]) in self.objects:
            raise ApiError(409, "AlreadyExists", "it is there")
        return copy.deepcopy(self.put(kind, obj))

    async def replace(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        meta = obj["metadata"]
        _need("update", kind)
        self.writes.append(("update", kind.kind, meta["name"]))
        live = self.objects.get((kind.kind, meta.get("namespace"), meta["name"]))
        if live is None:
            raise ApiError(404, "NotFound", "it is not there")
        if meta["resourceVersion"] != live["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it was changed")
        del self.objects[kind.kind, meta["namespace"], meta["name"]]
        return copy.deepcopy(self.put(kind, obj))

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str) -> None:
        _need("delete", kind)
        live = self.objects.get((kind.kind, namespace, name))
        self.writes.append(("delete", kind.kind, name))
        if live is None or live["metadata"]["uid"] != uid:
            return
        if resource_version != live["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it was changed")
        del self.objects[kind.kind, namespace, name]
        self._collect_garbage()

    async def logs(
        self, namespace: str, pod: str, container: str, *, tail: int, previous: bool = False, limit: int = 262_144
    ) -> str:
        self.logs_read.append((pod, limit))
        return "\n".join(self.pod_logs.get(pod, "").splitlines()[-tail:])[:limit]

    def _apply(self, live: Object, obj: Object, manager: str) -> None:
        mine = copy.deepcopy({key: value for key, value in obj.items() if key in _APPLIED})
        for key in ("namespace", "name", "uid", "resourceVersion"):
            mine["metadata"].pop(key, None)
        managers = self._applied.setdefault(live["metadata"]["uid"], {})
        for other in managers:
            if other != manager:  # by force: what this one says is its own from now on, where the values differ
                _take_away(managers[other], mine, live)
        kept = {path for name, theirs in managers.items() if name != manager for path in _leaves(theirs)}
        for path in set(_leaves(managers.get(manager, {}))) - set(_leaves(mine)) - kept:
            _remove(live, path)
        spec = copy.deepcopy(live.get("spec"))
        _merge(live, mine)
        managers[manager] = mine
        if spec is not None and spec != live.get("spec"):
            live["metadata"]["generation"] += 1

    def _collect_garbage(self) -> None:
        uids = {obj["metadata"]["uid"] for obj in self.objects.values()}
        for key, obj in list(self.objects.items()):
            owners = obj["metadata"].get("ownerReferences") or []
            if owners and not any(owner["uid"] in uids for owner in owners):
                del self.objects[key]


_APPLIED = ("metadata", "spec", "data", "addressType", "endpoints", "ports")


def _need(verb: str, kind: Kind, subresource: str | None = None) -> None:
    """Check a right against what every installation has; a chart value's is for tests/cluster."""
    group = kind.api_version.rpartition("/")[0]
    resource = kind.plural + (f"/{subresource}" if subresource else "")
    right = Right(verb, group, resource)
    assert right in _RIGHTS or (group, kind.plural) not in _WITH_RIGHTS, f"the operator may not {right}"


def _has(obj: Object, path: str, value: str) -> bool:
    found: Any = obj
    for key in path.split("."):
        found = (found or {}).get(key)
    return bool(found == value)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            if key == "ownerReferences":
                yield from ((*path, key, reference["uid"]) for reference in child)
            else:
                yield from _leaves(child, (*path, key))
    elif path:
        yield path


def _value(value: Any, path: Path) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _take_away(theirs: Object, mine: Object, live: Object) -> None:
    for path in set(_leaves(mine)) & set(_leaves(theirs)):
        if "ownerReferences" not in path and _value(mine, path) != _value(live, path):
            _remove(theirs, path)


def _merge(into: Object, values: Object) -> None:
    for key, value in values.items():
        if key == "ownerReferences":
            have = {reference["uid"]: reference for reference in into.get(key, [])}
            into[key] = list((have | {reference["uid"]: reference for reference in copy.deepcopy(value)}).values())
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _remove(obj: Object, path: Path) -> None:
    *parents, last = path
    for key in parents:
        if key == "ownerReferences":
            obj[key] = [reference for reference in obj.get(key, []) if reference["uid"] != last]
            if not obj[key]:
                del obj[key]
            return
        if not isinstance(obj.get(key), dict):
            return
        obj = obj[key]
    obj.pop(last, None)

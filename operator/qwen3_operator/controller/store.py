"""What the watches saw: the newest version of each object, with indices.

Filled by watch events and by the answers to our own writes, so an object is never older here than our last write of
it. An object is kept as JSON text, trimmed to what is read: parsed, it would take five times the memory.
"""

from __future__ import annotations

import asyncio
import builtins
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from qwen3_operator.controller.kinds import Kind

Object = dict[str, Any]
Name = tuple[str, str]
"""Namespace (empty for what has none) and name."""
Listener = Callable[[Kind, Object | None, Object | None, bool], None]
"""Called after a change with the kind, the object before and after (None: it was not there, it is gone), and whether
the change was our own write."""

OWNER = "owner"
"""Index that every kind has: uid of each ownerReference."""
UNDECODABLE = "undecodable"
"""Field that stands in the place of the rest of an object that cannot be kept as JSON."""


class StoreError(LookupError):
    """The store does not know this kind, or this index."""


@dataclass(frozen=True)
class Kept:
    """How objects of one kind are kept: `trim` takes away what nobody reads; `indices`: name -> values of an object."""

    trim: Callable[[Object], Object] = dict
    indices: Mapping[str, Callable[[Object], Iterable[str]]] = field(default_factory=dict)


class _Entry(NamedTuple):
    uid: str
    version: int
    text: bytes
    values: tuple[tuple[str, str], ...]


class Store:
    """Objects of the kinds in `kinds`. Not a cache of answers: what is not watched is not here."""

    def __init__(self, kinds: Mapping[Kind, Kept]) -> None:
        self._kinds = dict(kinds)
        self._left_out: dict[Kind, Kept] = {}
        self._objects: dict[Kind, dict[Name, _Entry]] = {kind: {} for kind in kinds}
        self._index: defaultdict[tuple[Kind, str, str], set[Name]] = defaultdict(set)
        self._gone: dict[str, int] = {}
        """uid -> version at which it was deleted: an event on its way must not bring it back."""
        self.listeners: list[Listener] = []
        self.ready = asyncio.Event()
        """Set once everything that existed at the start is here."""

    def leave_out(self, kind: Kind) -> None:
        """Keep nothing of `kind` until `take_in`: it is not watched."""
        if kind not in self._kinds:
            return
        self._left_out[kind] = self._kinds.pop(kind)
        for name, entry in self._objects.pop(kind).items():
            self._unlink(kind, name, entry)
            self._announce(kind, entry, None, own=False)

    def take_in(self, kind: Kind) -> None:
        """Keep `kind`, which was left out."""
        self._kinds[kind], self._objects[kind] = self._left_out.pop(kind), {}

    @property
    def kinds(self) -> Collection[Kind]:
        """The kinds that are kept."""
        return self._kinds

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object; the caller may change it."""
        entry = self._of(kind).get((namespace or "", name))
        return _read(entry) if entry else None

    def find(self, kind: Kind, index: str, value: str) -> builtins.list[Object]:
        """Objects with that `value` in an index, by namespace and name."""
        if index != OWNER and index not in self._kinds[kind].indices:
            raise StoreError(f"{kind.kind} has no index {index}")
        objects = self._of(kind)
        return [_read(objects[name]) for name in sorted(self._index.get((kind, index, value), ()))]

    def names_with(self, kind: Kind, index: str, value: str) -> AbstractSet[Name]:
        """Names of the objects that `find` would return, which are not read for it."""
        return self._index.get((kind, index, value), frozenset())

    def list(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """Objects of a namespace, or of all: for what happens rarely."""
        for (space, _), entry in sorted(self._of(kind).items()):
            if namespace is None or space == namespace:
                yield _read(entry)

    def names(self, kind: Kind) -> builtins.list[tuple[Name, str]]:
        """Namespace and name, and uid, of each object."""
        return [(name, entry.uid) for name, entry in self._of(kind).items()]

    def versions(self, kind: Kind) -> dict[Name, tuple[str, int]]:
        """uid and resourceVersion of each object."""
        return {name: (entry.uid, entry.version) for name, entry in self._of(kind).items()}

    def put(self, kind: Kind, obj: Object, *, own: bool = False) -> bool:
        """Keep `obj` if it is newer than what is here. `own`: it is the answer to a write of ours."""
        meta = obj["metadata"]
        name, uid, version = name_of(meta), str(meta["uid"]), int(meta["resourceVersion"])
        objects = self._of(kind)
        before = objects.get(name)
        if (before is not None and before.version >= version) or self._gone.get(uid, -1) >= version:
            return False
        text, kept, values = self._encode(kind, obj)
        self._unlink(kind, name, before)
        objects[name] = _Entry(uid, version, text, values)
        for index, value in values:
            self._index[kind, index, value].add(name)
        self._announce(kind, before, kept, own)
        return True

    def remove(self, kind: Kind, meta: Mapping[str, Any], *, own: bool = False) -> bool:
        """The object with this metadata is gone. Another one that has its name by now stays."""
        name, uid = name_of(meta), str(meta["uid"])
        before, version = self._of(kind).get(name), int(meta["resourceVersion"])
        if before is not None and before.uid == uid and before.version > version:
            return False  # it left a selector, and our write has brought it back since
        self._gone[uid] = max(version, self._gone.get(uid, 0))
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        if before is None or before.uid != uid:
            return False
        del self._of(kind)[name]
        self._unlink(kind, name, before)
        self._announce(kind, before, None, own)
        return True

    def remove_vanished(
        self, kind: Kind, namespace: str | None, before: Mapping[Name, tuple[str, int]], listed: Mapping[Name, str]
    ) -> None:
        """Remove what was here `before` a listing of a namespace, or of all (None), and is not `listed`, by its uid;
        `before`: as of `versions`."""
        for (space, name), (uid, version) in before.items():
            if namespace in (None, space) and listed.get((space, name)) != uid:
                self.remove(kind, {"namespace": space, "name": name, "uid": uid, "resourceVersion": str(version)})

    def missing(self, kind: Kind, listed: Iterable[tuple[Name, str]]) -> builtins.list[Name]:
        """Names of a listing that are not here (yet)."""
        objects = self._of(kind)
        return [name for name, uid in listed if uid not in self._gone and (name not in objects)]

    def _of(self, kind: Kind) -> dict[Name, _Entry]:
        try:
            return self._objects[kind]
        except KeyError:
            raise StoreError(f"{kind.kind} is not kept") from None

    def _encode(self, kind: Kind, obj: Object) -> tuple[bytes, Object, tuple[tuple[str, str], ...]]:
        """The text of what is kept of `obj`, what it says when it is read, and the values of its indices."""
        how = self._kinds[kind]
        try:
            trimmed = how.trim(obj)
            trimmed["metadata"] = {k: v for k, v in trimmed["metadata"].items() if k != "managedFields"}
            text = to_json(trimmed)
            kept: Object = from_json(text)  # what cannot be read again is as good as unreadable
        except (ValueError, RecursionError) as error:
            kept = _without_spec(obj, str(error)[:200] or type(error).__name__)
            text = to_json(kept)
        owners = [(OWNER, str(owner["uid"])) for owner in kept["metadata"].get("ownerReferences") or ()]
        if UNDECODABLE in kept:
            return text, kept, tuple(owners)
        found = ((index, value) for index, values in how.indices.items() for value in values(kept))
        return text, kept, (*owners, *found)

    def _unlink(self, kind: Kind, name: Name, entry: _Entry | None) -> None:
        for index, value in entry.values if entry else ():
            names = self._index[kind, index, value]
            names.discard(name)
            if not names:
                del self._index[kind, index, value]

    def _announce(self, kind: Kind, before: _Entry | None, after: Object | None, own: bool) -> None:
        if not self.listeners:
            return
        was = _read(before) if before else None
        for listener in self.listeners:
            listener(kind, was, after, own)


_MOST_GONE = 10_000


def _without_spec(obj: Object, why: str) -> Object:
    """What is kept of an undecodable object: which it is, and the fields of its status that can be read. Without its
    conditions each reconcile would write them anew."""
    bare = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "annotations")}
    status = {k: v for k, v in (obj.get("status") or {}).items() if _can_be_read(v)}
    return {"metadata": bare, UNDECODABLE: why} | ({"status": status} if status else {})


def _can_be_read(value: Any) -> bool:
    try:
        from_json(to_json(value))
    except (ValueError, RecursionError):
        return False
    return True


def name_of(meta: Mapping[str, Any]) -> Name:
    """Namespace and name of the object with this metadata."""
    return str(meta.get("namespace") or ""), str(meta["name"])


def _read(entry: _Entry) -> Object:
    obj: Object = from_json(entry.text)
    return obj

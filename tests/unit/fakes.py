"""A small stand-in for the connection to the API server: objects in memory, with resourceVersions."""

from __future__ import annotations

import copy
from typing import Any

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import Kind

Object = dict[str, Any]


class FakeCluster:
    """get, create and replace as the API server does them. `fail_with`: raised by the next writes, first one first."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str | None, str], Object] = {}
        self.fail_with: list[ApiError] = []
        self.writes: list[str] = []
        self._version = 0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def create(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        self._fail("create")
        if self._key(kind, obj) in self.objects:
            raise ApiError(409, "AlreadyExists", "it is there")
        return self._store(kind, obj)

    async def replace(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        self._fail("replace")
        live = self.objects.get(self._key(kind, obj))
        if live is None:
            raise ApiError(404, "NotFound", "it is not there")
        if live["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it was changed")
        return self._store(kind, obj)

    def _fail(self, verb: str) -> None:
        self.writes.append(verb)
        if self.fail_with:
            raise self.fail_with.pop(0)

    def _key(self, kind: Kind, obj: Object) -> tuple[str, str | None, str]:
        return kind.kind, obj["metadata"].get("namespace"), obj["metadata"]["name"]

    def _store(self, kind: Kind, obj: Object) -> Object:
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[self._key(kind, obj)] = stored
        return copy.deepcopy(stored)

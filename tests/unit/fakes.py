"""A small stand-in for the connection to the API server: objects in memory, with resourceVersions."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import Kind

Object = dict[str, Any]


class FakeCluster:
    """get, create and replace as the API server does them.

    `fail_with`: raised by the next writes, first one first. `lose_answers`: so many of the next writes are done, and
    raise. While `hangs`, no request is answered.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str | None, str], Object] = {}
        self.fail_with: list[Exception] = []
        self.lose_answers = 0
        self.hangs = False
        self.writes: list[str] = []
        self._version = 0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        await self._arrive()
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def create(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        await self._arrive()
        self._fail("create")
        if self._key(kind, obj) in self.objects:
            raise ApiError(409, "AlreadyExists", "it is there")
        return self._store(kind, obj)

    async def replace(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        await self._arrive()
        self._fail("replace")
        live = self.objects.get(self._key(kind, obj))
        if live is None:
            raise ApiError(404, "NotFound", "it is not there")
        if live["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it was changed")
        return self._store(kind, obj)

    async def _arrive(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()

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
        if self.lose_answers:
            self.lose_answers -= 1
            raise ApiError(0, "Unreachable", "the answer was lost")
        return copy.deepcopy(stored)

"""Objects of one kind as they are now, kept so by a list and a watch: for what kopf does not watch in our place.

kopf ends the process where the API server does not know a kind any more; a Follower waits until it does again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from qwen3_operator.controller.cluster import ApiError, Cluster, Object
from qwen3_operator.controller.resync import Scope
from qwen3_operator.controller.store import Name, Store, name_of

log = logging.getLogger(__name__)

WATCH_SECONDS = 240
FIRST_BACKOFF, MOST_BACKOFF = 0.5, 15.0
_NOT_SERVED, _GONE = 404, 410


class Sink(Protocol):
    """Where a Follower puts what it sees."""

    def listed(self, page: Iterable[Object]) -> None:
        """These are there; `only` ends the listing."""

    def put(self, obj: Object) -> None:
        """It is there, like this."""

    def remove(self, obj: Object) -> None:
        """It is gone; `obj` is how it was last."""

    def only(self, uids: Mapping[Name, str], version: str) -> None:
        """At `version` nothing was there but these, by namespace and name, which were listed."""

    def not_served(self) -> None:
        """The API server does not know the kind."""


class Follower:
    """Keeps `sink` right. A gap in the watch is closed by a new list; while the API server is away, all stays."""

    def __init__(self, cluster: Cluster, scope: Scope, sink: Sink) -> None:
        self._cluster, self._scope, self._sink = cluster, scope, sink

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        version, backoff = "", FIRST_BACKOFF
        while True:
            began = loop.time()
            try:
                version = version or await self._list()
                version, backoff = await self._watch(version), FIRST_BACKOFF
            except ApiError as error:
                version = ""
                if error.status == _NOT_SERVED:
                    self._sink.not_served()
                    await asyncio.sleep(MOST_BACKOFF)
                elif error.status != _GONE:
                    log.warning("watch of %s: %s; again in %.1f s", self._scope, error, backoff)
                    await asyncio.sleep(error.retry_after or backoff)
                    backoff = min(2 * backoff, MOST_BACKOFF)
            if loop.time() - began < FIRST_BACKOFF:
                await asyncio.sleep(FIRST_BACKOFF)  # a proxy that cuts watches at once, a list that is too old already

    async def _list(self) -> str:
        kind, namespace, labels = self._scope
        uids, version = dict[Name, str](), ""
        async for objects, at in self._cluster.listed(kind, namespace, labels=labels):
            self._sink.listed(objects)
            uids |= {name_of(obj["metadata"]): obj["metadata"]["uid"] for obj in objects}
            version = at
        self._sink.only(uids, version)
        return version

    async def _watch(self, version: str) -> str:
        """Take in what happens after `version`; returns the version of the last event."""
        kind, namespace, labels = self._scope
        events = self._cluster.watch(kind, namespace, labels=labels, version=version, seconds=WATCH_SECONDS)
        async for event, obj in events:
            version = str(obj["metadata"]["resourceVersion"])
            if event == "DELETED":
                self._sink.remove(obj)
            elif event != "BOOKMARK":
                self._sink.put(obj)
        return version


class Mirror:
    """Calls `changed` with all objects, by namespace and name, after each change; the first time once all are there."""

    def __init__(self, changed: Callable[[Mapping[Name, Object]], None]) -> None:
        self._changed = changed
        self.objects: dict[Name, Object] = {}
        self.complete = False
        """Whether all has been listed once."""

    def listed(self, page: Iterable[Object]) -> None:
        """Keep them."""
        for obj in page:
            meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
            self.objects[name_of(meta)] = obj | {"metadata": meta}

    def put(self, obj: Object) -> None:
        """Keep it."""
        self.listed([obj])
        self._changed(self.objects)

    def remove(self, obj: Object) -> None:
        """Forget it."""
        self.objects.pop(name_of(obj["metadata"]), None)
        self._changed(self.objects)

    def only(self, uids: Mapping[Name, str], version: str) -> None:
        """Forget all others."""
        self.objects = {name: obj for name, obj in self.objects.items() if name in uids}
        self.complete = True
        self._changed(self.objects)

    def not_served(self) -> None:
        """Nothing: the kinds that are mirrored are Kubernetes' own."""


class Feed:
    """Keeps a kind in `store` for as long as the API server serves it: what another project brings comes and goes.
    `changed` is called when it does."""

    def __init__(self, store: Store, scope: Scope, changed: Callable[[], None]) -> None:
        self._store, self._scope, self._changed = store, scope, changed

    def listed(self, page: Iterable[Object]) -> None:
        """Keep them."""
        self._keep_kind()
        for obj in page:
            self._store.put(self._scope.kind, obj)

    def put(self, obj: Object) -> None:
        """Keep it."""
        self.listed([obj])

    def remove(self, obj: Object) -> None:
        """Forget it."""
        if self._scope.kind in self._store.kinds:
            self._store.remove(self._scope.kind, obj["metadata"])

    def only(self, uids: Mapping[Name, str], version: str) -> None:
        """Forget what is not among these, but for what we wrote since."""
        self._keep_kind()
        kind, namespace, _ = self._scope
        then = {name: it for name, it in self._store.versions(kind).items() if it[1] <= int(version)}
        self._store.remove_vanished(kind, namespace, then, uids)

    def not_served(self) -> None:
        """Have nothing of it, until it is served again."""
        if self._scope.kind in self._store.kinds:
            log.warning("the API server does not serve %s any more", self._scope.kind)
            self._store.leave_out(self._scope.kind)
            self._changed()

    def _keep_kind(self) -> None:
        if self._scope.kind not in self._store.kinds:
            log.info("the API server serves %s now", self._scope.kind)
            self._store.take_in(self._scope.kind)
            self._changed()

"""Objects of one kind as they are now, kept so by a list and a watch: for what kopf does not watch in our place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from qwen3_operator.controller.cluster import ApiError, Cluster, Object
from qwen3_operator.controller.kinds import Kind

log = logging.getLogger(__name__)

Name = tuple[str, str]
WATCH_SECONDS = 240
FIRST_BACKOFF, MOST_BACKOFF = 0.5, 15.0
_GONE = 410


class Follower:
    """Calls `changed` with all objects, by namespace and name, after each change; the first time once they are listed.

    A gap in the watch is closed by a new list. While the API server is away the objects stay as they were.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        namespace: str | None,
        labels: str,
        changed: Callable[[Mapping[Name, Object]], None],
    ) -> None:
        self._cluster, self._kind, self._namespace, self._labels = cluster, kind, namespace, labels
        self._changed = changed
        self.objects: dict[Name, Object] = {}
        self.listed = False

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
                if error.status != _GONE:
                    log.warning("watch of %s: %s; again in %.1f s", self._kind.plural, error, backoff)
                    await asyncio.sleep(error.retry_after or backoff)
                    backoff = min(2 * backoff, MOST_BACKOFF)
            if loop.time() - began < FIRST_BACKOFF:
                await asyncio.sleep(FIRST_BACKOFF)  # a proxy that cuts watches at once, a list that is too old already

    async def _list(self) -> str:
        found, version = await self._cluster.listed(self._kind, self._namespace, labels=self._labels)
        self.objects = {_name(it): _trimmed(it) for it in found}
        self.listed = True
        self._changed(self.objects)
        return version

    async def _watch(self, version: str) -> str:
        """Take in what happens after `version`; returns the version of the last event."""
        events = self._cluster.watch(
            self._kind, self._namespace, labels=self._labels, version=version, seconds=WATCH_SECONDS
        )
        async for kind, obj in events:
            version = str(obj["metadata"]["resourceVersion"])
            if kind == "BOOKMARK":
                continue
            if kind == "DELETED":
                self.objects.pop(_name(obj), None)
            else:
                self.objects[_name(obj)] = _trimmed(obj)
            self._changed(self.objects)
        return version


def _name(obj: Object) -> Name:
    return str(obj["metadata"].get("namespace") or ""), str(obj["metadata"]["name"])


def _trimmed(obj: Object) -> Object:
    return obj | {"metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}

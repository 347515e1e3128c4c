"""The store is compared with what the API server lists, by names and versions, whatever events were lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.cluster import Name as Listed
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.store import Name, Store

Names = Mapping[Name, Listed]

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""What a listing shows, the watches have brought by then."""
POLL_SECONDS = 0.05
RETRY_SECONDS = 1.0
OTHERS_SECONDS = 10.0
"""What cannot be listed of a kind of others is waited for no longer."""


class Scope(NamedTuple):
    """What one watch shows: a kind, of one namespace or of all (None), by label selector."""

    kind: Kind
    namespace: str | None = None
    labels: str = ""

    def __str__(self) -> str:
        return f"{self.kind.plural} of {self.namespace}" if self.namespace else self.kind.plural


class Resync:
    """Keeps `store` right in `scopes`, but for kinds that it has left out. What it changes there, its listeners hear of
    as of any event. `others`: kinds that somebody else brings, and may break."""

    def __init__(self, cluster: Cluster, store: Store, scopes: Sequence[Scope], others: Collection[Kind] = ()) -> None:
        self._cluster, self._store, self._scopes, self._others = cluster, store, scopes, others
        self.relisted = asyncio.Event()
        """Set by a watch that began anew after a gap: what vanished in the gap brings no event."""

    async def fill(self) -> None:
        """Wait until the watches have brought all that exists, a while for kinds of others; the store is ready then."""
        for scope in self._scopes:
            try:
                async with asyncio.timeout(OTHERS_SECONDS if scope.kind in self._others else None):
                    while self._is_kept(scope) and not await self._is_here(scope):
                        pass
            except TimeoutError:
                log.warning("%s are waited for no longer", scope)
        self._store.ready.set()

    async def run(self, period: float, then: Callable[[], None]) -> None:
        """For ever: compare after each gap of a watch, and each `period` seconds, and call `then` after the latter."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + period
            while await self._relisted_before(due):
                await self.compare()
            await self.compare()
            then()

    async def compare(self) -> None:
        """Remove from the store what is not there any more, and read what is there in a newer version. What cannot be
        listed or read stays as it is until the next time."""
        suspects: list[tuple[Scope, Names]] = []
        for scope in filter(self._is_kept, self._scopes):
            with _survived(scope):
                before = self._store.versions(scope.kind)  # what comes while the pages do may be in none of them
                listed = await self._listed(scope)
                uids = {name: it.uid for name, it in listed.items()}
                self._store.remove_vanished(scope.kind, scope.namespace, before, uids)
                if self._outdated(scope, listed):
                    suspects.append((scope, listed))
        if suspects:
            await asyncio.sleep(SETTLE_SECONDS)
        for scope, listed in suspects:
            with _survived(scope):
                for space, name in self._outdated(scope, listed):
                    # By a list, for the selector and the rights are those of the watch.
                    only = f"metadata.name={name}"
                    for obj in await self._cluster.list(scope.kind, space or None, labels=scope.labels, fields=only):
                        self._store.put(scope.kind, obj)

    async def _relisted_before(self, due: float) -> bool:
        try:
            async with asyncio.timeout_at(due):
                await self.relisted.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(SETTLE_SECONDS)  # the other watches, which most likely broke as well
        self.relisted.clear()
        return True

    def _is_kept(self, scope: Scope) -> bool:
        return scope.kind in self._store.kinds

    async def _is_here(self, scope: Scope) -> bool:
        """Whether the store has all that is listed now, or soon after: what is deleted meanwhile never comes."""
        try:
            listed = [(name, it.uid) for name, it in (await self._listed(scope)).items()]
        except Exception as error:
            log.warning("%s are not listed yet: %s: %s", scope, type(error).__name__, error)
            await asyncio.sleep((error.retry_after if isinstance(error, ApiError) else None) or RETRY_SECONDS)
            return False
        for _ in range(round(SETTLE_SECONDS / POLL_SECONDS)):
            if not self._store.missing(scope.kind, listed):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    def _outdated(self, scope: Scope, listed: Names) -> list[Name]:
        """What is listed, and not in the store in that version or a newer one."""
        here = self._store.versions(scope.kind)
        outdated = []
        for name, it in listed.items():
            uid, version = here.get(name, ("", 0))
            if uid != it.uid or version < int(it.resource_version):
                outdated.append(name)
        return outdated

    async def _listed(self, scope: Scope) -> Names:
        names = await self._cluster.names(scope.kind, scope.namespace, labels=scope.labels)
        return {(it.namespace, it.name): it for it in names}


@contextlib.contextmanager
def _survived(scope: Scope) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.warning("resync of %s: %s: %s", scope, type(error).__name__, error)

"""A Lease that keeps two operators from working at once.

One replica with `Recreate` is the rule; the Lease covers the node that is cut off and still runs its pod. It is given
back at the end, so the next process starts at once; the client library's own election does not do that.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import ApiError, Cluster, Object
from qwen3_operator.controller.kinds import LEASES

log = logging.getLogger(__name__)

DURATION = 15.0
RENEW = 5.0
RETRY = 1.0


class Lease:
    """A coordination.k8s.io Lease held by `identity`. `lost` is set when it could not be kept."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self.lost = asyncio.Event()
        self._cluster, self._identity = cluster, identity
        self._namespace, self._name = namespace, name
        self._held: Object | None = None

    async def acquire(self) -> None:
        """Wait until the Lease is ours. A holder counts as gone when its record did not change for its duration."""
        seen: tuple[str, float] | None = None
        while not await self._take(seen):
            lease = await self._cluster.get(LEASES, self._namespace, self._name)
            version = (lease or {}).get("metadata", {}).get("resourceVersion", "")
            now = asyncio.get_running_loop().time()
            if seen is None or seen[0] != version:
                holder = (lease or {}).get("spec", {}).get("holderIdentity")
                log.info("waiting for the lease %s/%s held by %s", self._namespace, self._name, holder)
                seen = (version, now)
            await asyncio.sleep(RETRY)
        metrics.LEADER.set(1)

    async def keep(self) -> None:
        """Renew for ever; returns, with `lost` set, when that failed for the lease's duration or another holds it."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < DURATION:
            await asyncio.sleep(RENEW if loop.time() - renewed < RENEW else RETRY)
            try:
                await self._write(self._held)
                renewed = loop.time()
            except ApiError as error:
                if error.status == 409:
                    break
                log.warning("the lease was not renewed: %s", error)
        self._held = None
        metrics.LEADER.set(0)
        self.lost.set()

    async def release(self) -> None:
        """Give the Lease back, if it is held."""
        if self._held is None:
            return
        held, self._held = self._held, None
        held["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._cluster.replace(LEASES, held, manager=self._identity)
        except ApiError as error:
            log.warning("the lease was not given back: %s", error)
        metrics.LEADER.set(0)

    async def _take(self, seen: tuple[str, float] | None) -> bool:
        lease = await self._cluster.get(LEASES, self._namespace, self._name)
        if lease is not None:
            spec = lease.get("spec", {})
            holder = spec.get("holderIdentity")
            stale = (
                seen is not None
                and seen[0] == lease["metadata"]["resourceVersion"]
                and asyncio.get_running_loop().time() - seen[1] > spec.get("leaseDurationSeconds", DURATION)
            )
            if holder and holder != self._identity and not stale:
                return False
        try:
            await self._write(lease)
        except ApiError as error:
            if error.status == 409:  # another was faster
                return False
            raise
        return True

    async def _write(self, lease: Object | None) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": int(DURATION), "renewTime": now}
        if lease is None:
            meta = {"namespace": self._namespace, "name": self._name}
            body = {"metadata": meta, "spec": spec | {"acquireTime": now}}
            self._held = await self._cluster.create(LEASES, body, manager=self._identity)
        else:
            self._held = await self._cluster.replace(
                LEASES, lease | {"spec": lease.get("spec", {}) | spec}, manager=self._identity
            )

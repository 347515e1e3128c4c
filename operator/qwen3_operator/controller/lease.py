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
"""Others may take the Lease over when it was not renewed for so long."""
DEADLINE = 10.0
"""The holder counts it as lost when it could not renew it for so long: before anybody else takes it over."""
RENEW = 4.0
TRY = 2.5
"""A request that takes longer has failed: two fit between RENEW and DEADLINE."""
RETRY = 1.0


class LeaseLost(Exception):
    """Another took over, or the API server was away too long."""


class Lease:
    """A coordination.k8s.io Lease held by `identity`."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self._cluster, self._identity = cluster, identity
        self._namespace, self._name = namespace, name
        self._held: Object | None = None
        self._renewed_at = 0.0
        """When the last write that succeeded was begun: no other process can have seen it earlier."""
        self._seen: tuple[str, float] | None = None
        """The version of another's Lease, and when it was first seen."""

    async def acquire(self) -> None:
        """Wait until the Lease is ours. A holder counts as gone when its record did not change for its duration.

        Raises ApiError where the API server will never allow it.
        """
        while True:
            if await self._taken():
                metrics.LEADER.set(1)
                return
            await asyncio.sleep(RETRY)

    async def keep(self) -> None:
        """Renew for ever. Raises LeaseLost when another holds it, or nobody could renew it within DEADLINE."""
        pause = RENEW
        try:
            while True:
                await asyncio.sleep(max(0.0, min(pause, self._seconds_left)))
                pause = RENEW if await self._renewed() else RETRY
        except LeaseLost:
            self._held = None
            metrics.LEADER.set(0)
            raise

    async def release(self) -> None:
        """Give the Lease back, if it is held."""
        if self._held is None:
            return
        metrics.LEADER.set(0)
        try:
            async with asyncio.timeout(TRY):
                await self._write(self._held, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except Exception as error:  # the next process waits for its duration
            log.warning("the lease was not given back: %s", _words(error))
        self._held = None

    @property
    def _seconds_left(self) -> float:
        return self._renewed_at + DEADLINE - asyncio.get_running_loop().time()

    async def _renewed(self) -> bool:
        """One try to renew it. Raises LeaseLost."""
        left = self._seconds_left
        if left <= 0:
            raise LeaseLost(f"the lease could not be renewed for {DEADLINE:g} s: another operator may be at work soon")
        try:
            async with asyncio.timeout(min(TRY, left)):
                await self._hold(self._held)
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("the lease was not renewed: %s", _words(error))
            return False
        return True

    async def _taken(self) -> bool:
        """One try to get it. Raises an ApiError that is final."""
        try:
            async with asyncio.timeout(TRY):
                lease = await self._cluster.get(LEASES, self._namespace, self._name)
                if self._is_anothers(lease):
                    return False
                await self._hold(lease)
        except LeaseLost:  # another was faster
            return False
        except Exception as error:
            if isinstance(error, ApiError) and error.final:
                raise
            log.warning("the lease was not acquired: %s", _words(error))
            return False
        return True

    def _is_anothers(self, lease: Object | None) -> bool:
        """Whether another holds `lease`, and renewed it within its duration as far as this process has seen."""
        if not (holder := _holder(lease)) or lease is None or holder == self._identity:
            return False
        version, now = lease["metadata"]["resourceVersion"], asyncio.get_running_loop().time()
        if self._seen is None or self._seen[0] != version:
            log.info("waiting for the lease %s/%s held by %s", self._namespace, self._name, holder)
            self._seen = (version, now)
        duration = float(lease["spec"].get("leaseDurationSeconds") or DURATION)
        return now - self._seen[1] <= duration

    async def _hold(self, lease: Object | None) -> None:
        """Write that it is ours, over `lease`. Raises LeaseLost where another was faster."""
        begun = asyncio.get_running_loop().time()
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": int(DURATION), "renewTime": now}
        held = await self._write(lease, spec if lease else spec | {"acquireTime": now})
        if _holder(held) != self._identity:
            raise ValueError(f"the answer to a write of the lease is no lease of ours: {str(held)[:200]}")
        self._held, self._renewed_at = held, begun

    async def _write(self, lease: Object | None, spec: Object) -> Object:
        """Write `spec` over `lease`. Raises LeaseLost where another has it by now.

        A conflict alone does not say so: a write of ours whose answer was lost makes one as well.
        """
        try:
            return await self._put(lease, spec)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        live = await self._cluster.get(LEASES, self._namespace, self._name)
        if live is not None and _holder(live) != self._identity:
            raise LeaseLost(f"the lease is held by {_holder(live) or 'nobody'}: another operator may be at work")
        return await self._put(live, spec)

    async def _put(self, lease: Object | None, spec: Object) -> Object:
        if lease is None:
            body: Object = {"metadata": {"namespace": self._namespace, "name": self._name}, "spec": spec}
            return await self._cluster.create(LEASES, body, manager=self._identity)
        body = lease | {"spec": (lease.get("spec") or {}) | spec}
        return await self._cluster.replace(LEASES, body, manager=self._identity)


def _holder(lease: Object | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the API server did not answer within {TRY:g} s"
    return f"{type(error).__name__}: {error}"

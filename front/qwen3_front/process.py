"""The running front: watches, doors and the port for probes, tied together for one process."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from typing import Any

from qwen3_front.admin import Admin
from qwen3_front.contract import OURS
from qwen3_front.doors import Doors
from qwen3_front.hold import Holder
from qwen3_front.settings import Settings
from qwen3_front.table import Table
from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.follow import Follower, Mirror
from qwen3_operator.controller.kinds import ENDPOINT_SLICES
from qwen3_operator.controller.resync import Scope
from qwen3_operator.controller.tasks import Tasks

log = logging.getLogger(__name__)

LABELS = f"app.kubernetes.io/managed-by={OURS}"
"""The operator's slices have this label of its, and those of the cluster have it from the Service."""
SETTLE_SECONDS = 10.0
"""After SIGTERM requests may still come for so long: until every proxy has heard of it."""
POLL_SECONDS = 0.2


class Front:
    """One front in one event loop. `run` returns after `stop` or a signal, when nobody waits any more."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings = settings
        self.holder = Holder(settings)
        self.doors = Doors(self.holder, settings.max_connections)
        self.admin = Admin(self.holder, self._unready)
        self._stop = asyncio.Event()
        self._tasks = Tasks(at_end=self.stop)
        self._open = False
        scopes = [Scope(ENDPOINT_SLICES, namespace, LABELS) for namespace in settings.namespaces or (None,)]
        self._mirrors = [Mirror(self._update) for _ in scopes]
        self._followers = [Follower(cluster, scope, it) for scope, it in zip(scopes, self._mirrors, strict=True)]

    def stop(self) -> None:
        """Begin the end."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped. Raises what ended one of the tasks."""
        settings = self.settings
        await self.admin.start(settings.host, settings.admin_port)
        try:
            async with self._tasks as tasks:
                for number, follower in enumerate(self._followers):
                    tasks.start(f"watch {number}", follower.run())
                await self.doors.open(settings.host, settings.first_port, settings.ports)
                self._open = True
                log.info("ports %d to %d are open", self.doors.ports[0], self.doors.ports[-1])
                await self._stop.wait()
                await self._drain()
        finally:
            await self.doors.close()
            await self.holder.close()
            await self.admin.stop()

    async def _drain(self) -> None:
        """Let those who are here come to their end, while the watches go on."""
        if self._tasks.failure is not None:
            return
        log.info("ending: %d requests are here", self.holder.here)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (passed := loop.time() - began) < self.settings.drain_seconds:
            if self._tasks.failure is not None or (passed >= SETTLE_SECONDS and not self.holder.here):
                return
            await asyncio.sleep(POLL_SECONDS)
        log.warning("%d requests are lost: they took longer than the pod may", self.holder.here)

    def _update(self, _: Mapping[Any, Any]) -> None:
        slices = [it for mirror in self._mirrors for it in mirror.objects.values()]
        self.holder.update(Table.of(slices))

    def _unready(self) -> str:
        if self._stop.is_set():
            return "ending"
        if not self._open or not all(mirror.complete for mirror in self._mirrors):
            return "starting"
        return ""


async def run(settings: Settings) -> None:
    """Connect, and work until SIGTERM or SIGINT."""
    async with await Cluster.connect(connections=16, user_agent="qwen3-front") as cluster:
        front = Front(settings, cluster)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, front.stop)
        await front.run()

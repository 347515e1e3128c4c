"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qwen3_operator.controller import metrics

LAG_LIMIT = 10.0
LAG_PERIOD = 1.0


class Probes:
    """A small HTTP server beside the operator. `ready` tells whether this process does its work."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._lag = 0.0
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen on `host:port`; the port in use then stands in `self.port`."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def measure_lag(self) -> None:
        """For ever: how late does the loop wake up? A blocked loop is how asynchronous operators fail."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_PERIOD)
            self._lag = max(0.0, loop.time() - before - LAG_PERIOD)
            metrics.LOOP_LAG.set(self._lag)

    async def _healthz(self, _: web.Request) -> web.Response:
        healthy = self._lag < LAG_LIMIT
        return web.Response(status=200 if healthy else 500, text="ok" if healthy else f"loop lag {self._lag:.1f} s")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(status=200 if ready else 503, text="ok" if ready else "starting")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

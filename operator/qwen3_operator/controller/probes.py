"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qwen3_operator.controller import metrics

LAG_LIMIT = 10.0
LAG_PERIOD = 1.0
METRICS_PERIOD = 1.0
"""The metrics are written out at most so often, and for at most METRICS_SHARE of the time, however often they are asked
for: anybody may."""
METRICS_SHARE = 0.1

Check = Callable[[], str]
"""Says what is wrong; empty where nothing is."""


class Probes:
    """A small HTTP server beside the operator. `unready`: what keeps this process from its work; `ill`: what is wrong
    with it that a restart would mend."""

    def __init__(self, unready: Check, ill: Check = lambda: "") -> None:
        self._unready, self._ill = unready, ill
        self._lag = 0.0
        self._runner: web.AppRunner | None = None
        self._metrics_text = b""
        self._metrics_good_until = 0.0
        self._metrics_lock = asyncio.Lock()
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
        ill = self._ill() or (f"loop lag {self._lag:.1f} s" if self._lag >= LAG_LIMIT else "")
        return web.Response(status=500 if ill else 200, text=ill or "ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        unready = self._unready()
        return web.Response(status=503 if unready else 200, text=unready or "ok")

    async def _metrics(self, _: web.Request) -> web.Response:
        async with self._metrics_lock:  # who comes meanwhile is given the same
            loop = asyncio.get_running_loop()
            if (begun := loop.time()) >= self._metrics_good_until:
                # In a thread: tens of thousands of series take a second.
                self._metrics_text = await asyncio.to_thread(generate_latest)
                took = loop.time() - begun
                self._metrics_good_until = loop.time() + max(METRICS_PERIOD, took / METRICS_SHARE)
        return web.Response(body=self._metrics_text, headers={"Content-Type": CONTENT_TYPE_LATEST})

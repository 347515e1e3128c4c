"""/healthz, /readyz and /metrics of the front, and how many requests wait, for autoscalers."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qwen3_front.contract import WAITING_FIELD, WAITING_PATH
from qwen3_front.hold import Holder
from qwen3_front.metrics import REGISTRY
from qwen3_front.table import Name


class Admin:
    """A small HTTP server. `unready`: why the front takes no requests yet, or no more; empty where it does."""

    def __init__(self, holder: Holder, unready: Callable[[], str]) -> None:
        self._holder, self._unready = holder, unready
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get(WAITING_PATH, self._waiting),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; the port in use then stands in `self.port`."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host or None, port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        unready = self._unready()
        return web.Response(status=503 if unready else 200, text=unready or "ok")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _waiting(self, request: web.Request) -> web.Response:
        name = Name(request.match_info["namespace"], request.match_info["name"])
        return web.json_response({WAITING_FIELD: self._holder.waiting(name)})

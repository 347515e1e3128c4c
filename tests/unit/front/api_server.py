"""An API server that knows EndpointSlices only, for the front as a process: lists, watches, and forgets on demand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]
PATH = "/apis/discovery.k8s.io/v1/endpointslices"


class ApiServer:
    """Listens on a free port; `kubeconfig` leads there."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.objects: dict[str, Object] = {}
        self.lists = self.watches = 0
        self.too_old = False
        """Whether every watch is refused, for its version is too old."""
        self._version = 10
        self._log: list[tuple[int, Object]] = []
        self._news = asyncio.Event()
        self._cut = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get(PATH, self._get)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": server}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def put(self, obj: Object) -> None:
        """Have this object, new or changed."""
        name = obj["metadata"]["name"]
        self._say("MODIFIED" if name in self.objects else "ADDED", obj)
        self.objects[name] = obj

    def remove(self, name: str) -> None:
        """It is gone."""
        self._say("DELETED", self.objects.pop(name))

    def cut(self) -> None:
        """End all watches."""
        self._cut.set()
        self._cut = asyncio.Event()

    def _say(self, kind: str, obj: Object) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._log.append((self._version, {"type": kind, "object": json.loads(json.dumps(obj))}))
        self._news.set()
        self._news = asyncio.Event()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists += 1
            items = list(self.objects.values())
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        self.watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        if self.too_old:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        version, cut = int(request.query["resourceVersion"]), asyncio.ensure_future(self._cut.wait())
        while not cut.done():
            news = asyncio.ensure_future(self._news.wait())
            for seen, event in [it for it in self._log if it[0] > version]:
                text = json.dumps(event).encode() + b"\n"
                await response.write(text[: len(text) // 2])  # lines come in pieces
                await response.write(text[len(text) // 2 :])
                version = seen
            await asyncio.wait({news, cut}, return_when=asyncio.FIRST_COMPLETED)
        return response

"""A front on free ports of 127.0.0.1, and a server behind it that can go and come back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from qwen3_front.contract import Mode, Notice
from qwen3_front.doors import Doors
from qwen3_front.hold import Holder
from qwen3_front.settings import Settings
from qwen3_front.table import Address, Entry, Name, Table

NAME = Name("team", "chat")
CHUNKS = 3


async def until(check: Callable[[], Any], what: str = "") -> None:
    """Wait until it is so; far longer than it takes, for a busy machine."""
    try:
        async with asyncio.timeout(20):
            while not check():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came to be: {what}") from None


def chunk(text: str) -> dict[str, Any]:
    """One of OpenAI's chunks."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "it", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def whole(text: str) -> dict[str, Any]:
    """One of OpenAI's answers."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "it", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


class Server:
    """Stands for vLLM: asks for a key where it has one, and answers as the test says."""

    def __init__(self) -> None:
        self.port = 0
        self.key = ""
        self.status = 200
        self.breaks = False
        """Whether it ends in the midst of each answer."""
        self.dies = False
        """Whether it ends before each answer."""
        self.draining = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.running = self.most_running = 0
        self.seen: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    async def start(self) -> None:
        """Listen, where it listened before."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def drained(self) -> None:
        """Ask each client to connect anew, and wait until all have."""
        self.draining = True
        assert self._runner is not None and self._runner.server is not None
        http = self._runner.server
        await until(lambda: not http.connections, "no client is left")
        await self.stop()
        self.draining = False

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            response = await self._said(request)
            if self.draining:
                response.force_close()
            return response
        finally:
            self.running -= 1

    async def _said(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        self.seen[request.path_qs] += 1
        self.bodies.append(text)
        self.headers.append(request.headers)
        await self.may_answer.wait()
        if self.dies:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(60)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "who are you?", "code": 401}}, status=401)
        if self.status != 200:
            said = {"error": {"message": "not now", "code": self.status}}
            return web.json_response(said, status=self.status, headers={"Retry-After": "7"})
        if not text or not json.loads(text).get("stream"):
            return web.json_response(whole("one two three"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        if self.draining:
            response.force_close()
        await response.prepare(request)
        for number in range(CHUNKS):
            await response.write(b"data: " + json.dumps(chunk(f"{number} ")).encode() + b"\n\n")
            if self.breaks:
                assert request.transport is not None
                request.transport.abort()
                await asyncio.sleep(60)
        await response.write(b"data: [DONE]\n\n")
        return response


class Stand:
    """The front of one deployment, at `url`; `port` is its own."""

    def __init__(self, holder: Holder, doors: Doors, server: Server) -> None:
        self.holder, self.doors, self.server = holder, doors, server
        self.port = doors.ports[0]
        self.url = f"http://127.0.0.1:{self.port}"

    def report(self, mode: Mode = Mode.HOLD, *servers: Server, why: str = "Starting") -> None:
        """What the slices say now."""
        notice = Notice(mode=mode, why=why, usual_seconds=40)
        self.holder.update(Table({self.port: Entry(NAME, notice, frozenset(it.address for it in servers))}))

    def ready(self) -> None:
        """The server is ready."""
        self.report(Mode.HOLD, self.server)

    async def until_waiting(self, count: int) -> None:
        """Wait until so many requests wait."""
        await until(lambda: self.holder.waiting(NAME) == count, f"{count} wait")


@asynccontextmanager
async def stand(**settings: Any) -> AsyncIterator[Stand]:
    """A front with these settings, whose deployment has a server that is not ready."""
    wanted = Settings.model_validate({"first_port": 0, "ports": 2} | settings)
    holder, server = Holder(wanted), Server()
    doors = Doors(holder, wanted.max_connections)
    await server.start()
    await doors.open("127.0.0.1", wanted.first_port, wanted.ports)
    it = Stand(holder, doors, server)
    it.report()
    try:
        yield it
    finally:
        server.may_answer.set()
        await doors.close()
        await holder.close()
        await server.stop()

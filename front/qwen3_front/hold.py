"""What becomes of each request that comes to the front."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from qwen3_front import answers, body, metrics
from qwen3_front.answers import LONG_RETRY, SHORT_RETRY
from qwen3_front.contract import Mode, Notice
from qwen3_front.exchange import Exchange, Late, Lost, session
from qwen3_front.line import Full, Limits, Line, Room
from qwen3_front.settings import MIB, Settings
from qwen3_front.table import Entry, Name, Table

STRANGE_SECONDS = 5.0
"""A request at a port of which nothing is known (yet) waits so long for the news."""
NEVER_HELD = frozenset({"/health", "/ping", "/load", "/metrics", "/version", "/server_info"})
"""Paths that ask how a server is: without one they have their answer."""


class Holder:
    """All lines, and the table of whose they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_waiting, settings.max_bytes_mib * MIB, settings.max_per_server)
        self._room = Room(settings.max_total_mib * MIB)
        self._table = Table()
        self._lines: dict[Name, Line] = {}
        self._changed = asyncio.Event()
        self._servers = session()
        self.here = 0
        """Requests that are not over."""
        metrics.BYTES.set_function(lambda: self._room.bytes)

    async def close(self) -> None:
        """End what is still on its way to servers."""
        await self._servers.close()

    def update(self, table: Table) -> None:
        """The table is this now."""
        self._table = table
        known = {entry.name: entry for entry in table.by_port.values()}
        for name, line in list(self._lines.items()):
            if entry := known.get(name):
                line.set_servers(entry.servers)
            elif line.empty:
                self._forget(name)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def waiting(self, name: Name) -> int:
        """Requests of a deployment that wait and are worth starting a server for."""
        line = self._lines.get(name)
        return line.wakers if line else 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self.here += 1
        try:
            entry = await self._entry(_port(request))
            if entry is None:
                words = "no deployment is known here yet: try again"
                return answers.error(503, words, retry_after=SHORT_RETRY)
            return await self._counted(request, entry)
        finally:
            self.here -= 1

    async def _entry(self, port: int) -> Entry | None:
        """Whose port it is."""
        try:
            async with asyncio.timeout(STRANGE_SECONDS):
                while (entry := self._table.by_port.get(port)) is None:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return entry

    async def _counted(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        result = "cut"
        try:
            result, response = await self._held(request, entry)
            return response
        except ConnectionError:  # the client went while it was written to
            result = "cut"
            raise
        finally:
            metrics.REQUESTS.labels(*entry.name, result).inc()

    async def _held(self, request: web.BaseRequest, entry: Entry) -> tuple[str, web.StreamResponse]:
        """What became of it, and the answer."""
        line = self._line(entry)
        if why := _refusal(request, entry, line):
            return "refused", answers.error(503, why, retry_after=LONG_RETRY)
        deadline = asyncio.get_running_loop().time() + self._settings.hold_seconds
        exchange: Exchange | None = None
        try:
            with line.place(wakes=request.method == "POST") as place:
                text = await body.read(request, place, self._settings.max_body_mib * MIB)
                streams = body.asks_for_stream(request.method, request.rel_url.path, text)
                exchange = Exchange(request, place, text, streams=streams, notice=self._notice(entry))
                del text
                response = await exchange.run(self._servers, deadline)
            metrics.WAIT_SECONDS.labels(*entry.name).observe(exchange.waited)
            return "served", response
        except Full as error:
            words = f"the queue of {entry.name.name} is full, for it has no server yet: {error}"
            return "full", answers.error(429, words, retry_after=_retry(self._notice(entry)()))
        except body.TooLarge:
            words = f"the body is larger than {self._settings.max_body_mib} MiB, the most that can wait for a server"
            return "too_large", answers.error(413, words)
        except TimeoutError:
            return "cut", answers.error(408, "the body of the request did not come in time")
        except (Late, Lost) as error:
            late = isinstance(error, Late)
            begun = exchange.begun if exchange is not None else None
            fresh = answers.error(503 if late else 502, str(error), retry_after=SHORT_RETRY if late else None)
            return "late" if late else "lost", begun or fresh

    def _notice(self, entry: Entry) -> Callable[[], Notice]:
        """The notice of the deployment at the time of asking."""

        def newest() -> Notice:
            return next((it.notice for it in self._table.by_port.values() if it.name == entry.name), entry.notice)

        return newest

    def _line(self, entry: Entry) -> Line:
        line = self._lines.get(entry.name)
        if line is None:
            line = self._lines[entry.name] = Line(self._limits, self._room)
            metrics.WAITING.labels(*entry.name).set_function(lambda: line.waiting)
            metrics.FORWARDED.labels(*entry.name).set_function(lambda: line.forwarded)
            line.set_servers(entry.servers)
        return line

    def _forget(self, name: Name) -> None:
        del self._lines[name]
        metrics.forget(*name)


def _port(request: web.BaseRequest) -> int:
    transport = request.transport
    return int(transport.get_extra_info("sockname")[1]) if transport is not None else 0


def _refusal(request: web.BaseRequest, entry: Entry, line: Line) -> str:
    """Why a request is not held; empty where it is."""
    notice, name = entry.notice, entry.name.name
    because = f": {notice.why}" if notice.why else ""
    if line.has_servers:
        return ""
    if notice.mode is Mode.REFUSE:
        return f"{name} has no server, and none will come{because}"
    if request.rel_url.path in NEVER_HELD or "upgrade" in request.headers.get("Connection", "").lower():
        return f"{name} has no server ready{because}"
    if notice.mode is Mode.ASLEEP and request.method != "POST" and not line.wakers:
        return f"{name} sleeps: it has no server until somebody asks the model something"
    return ""


def _retry(notice: Notice) -> int:
    """Seconds after which there may be room: the rest of the start, within reason."""
    left = answers.seconds_left(notice, time.time())
    return SHORT_RETRY if left is None else round(max(SHORT_RETRY, min(left, LONG_RETRY)))

"""One request that is held: it waits, a server gets it, and its answer goes to the client as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from qwen3_front import answers
from qwen3_front.contract import Notice
from qwen3_front.line import Place
from qwen3_front.table import Address

QUIET_SECONDS = 2.0
"""A stream begins with comments after this time: before, its client still gets the server's own status."""
BEAT_SECONDS = 5.0
"""Between two comments."""
CONNECT_SECONDS = 3.0
EVENTS = "text/event-stream"
_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade", "expect"),
}


class Late(Exception):
    """Nobody took the request in time."""


class Lost(Exception):
    """The server that had the request went away before it answered."""


def session() -> aiohttp.ClientSession:
    """For requests to servers: each on a connection of its own, which no server closes at the wrong moment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=32 << 10,
        max_field_size=32 << 10,
    )


class Exchange:
    """What is with one request. `streams`: its client expects a stream of chunks."""

    def __init__(
        self, request: web.BaseRequest, place: Place, body: bytes, *, streams: bool, notice: Callable[[], Notice]
    ) -> None:
        self._request, self._place, self._body, self._streams, self._notice = request, place, body, streams, notice
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._stream: web.StreamResponse | None = None
        """The answer, once it has begun: that may be before a server takes the request."""
        self.waited = 0.0
        """Seconds until a server took it."""

    async def run(self, servers: aiohttp.ClientSession, deadline: float) -> web.StreamResponse:
        """The answer, which has begun or is over. Raises Late and Lost where none has begun."""
        try:
            answer = await self._answered(servers, deadline)
        except (Late, Lost) as error:
            if self._stream is None:
                raise
            status = 503 if isinstance(error, Late) else 502
            await self._stream.write(answers.error_event(status, str(error)))
            raise
        self.waited = self._loop.time() - self._began
        async with answer:
            return await self._pass_on(answer)

    async def _answered(self, servers: aiohttp.ClientSession, deadline: float) -> aiohttp.ClientResponse:
        """The beginning of an answer. What no server took waits again; what one took is asked once only."""
        while True:
            address = await self._turn(deadline)
            try:
                answer = await servers.request(
                    self._request.method,
                    URL.build(
                        scheme="http",
                        authority=str(address),
                        path=self._request.rel_url.raw_path,
                        query_string=self._request.rel_url.raw_query_string,
                        encoded=True,
                    ),
                    headers=_end_to_end(self._request.headers),
                    data=self._body or None,
                    allow_redirects=False,
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                self._place.refused()
                continue
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Lost(f"the server ended before it answered ({type(error).__name__})") from error
            if answer.status == 503:  # it drains, or its engine is dead: it has not run
                answer.close()
                self._place.refused()
                continue
            self._place.taken()
            self._place.drop_body()
            self._body = b""
            return answer

    async def _turn(self, deadline: float) -> Address:
        """Wait for a server, with signs of life for a client that streams."""
        turn = self._place.turn()
        beat = self._began + QUIET_SECONDS if self._stream is None else self._loop.time() + BEAT_SECONDS
        while True:
            until = min(deadline, beat) if self._streams else deadline
            await asyncio.wait({turn}, timeout=max(0.0, until - self._loop.time()))
            if turn.done():
                return turn.result()
            now = self._loop.time()
            if now >= deadline:
                raise Late(f"no server was ready within {now - self._began:.0f} s{_because(self._notice())}")
            if self._stream is None:
                self._stream = await self._begin(200, {"Content-Type": f"{EVENTS}; charset=utf-8"})
            said = answers.comment(self._notice(), now - self._began, self._place.before, time.time())
            await self._stream.write(said)
            beat = now + BEAT_SECONDS

    async def _begin(self, status: int, headers: Mapping[str, str], reason: str | None = None) -> web.StreamResponse:
        """Begin the answer. The connection ends with it: the next request of this client goes to a server itself."""
        response = web.StreamResponse(status=status, reason=reason, headers=headers)
        if headers.get("Content-Type", "").startswith(EVENTS):
            response.headers.setdefault("Cache-Control", "no-cache")
            response.headers.setdefault("X-Accel-Buffering", "no")  # nginx would keep comments back
        response.force_close()
        await response.prepare(self._request)
        return response

    async def _pass_on(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        is_stream = answer.content_type == EVENTS
        if self._stream is None:
            headers = _end_to_end(answer.headers)
            self._stream = response = await self._begin(answer.status, headers, answer.reason)
        else:
            response = self._stream
            if answer.status != 200 or not is_stream:
                said = await _some_of(answer)
                await response.write(answers.passed_on(answer.status, said))
                return response
        while True:
            try:
                chunk = await answer.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                await self._broken(response, is_stream)
                raise Lost("the server ended in the midst of its answer") from error
            if not chunk:
                return response
            await response.write(chunk)

    async def _broken(self, response: web.StreamResponse, is_stream: bool) -> None:
        """The client is to see that its answer is not whole."""
        if is_stream:
            words = "the server ended in the midst of its answer"
            await response.write(b"\n\n" + answers.error_event(502, words))
        elif self._request.transport is not None:
            self._request.transport.abort()

    @property
    def begun(self) -> web.StreamResponse | None:
        """The answer, where the client has its beginning already."""
        return self._stream


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers without those that belong to one connection."""
    named = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    drop = _HOP_BY_HOP | named
    return CIMultiDict((key, value) for key, value in headers.items() if key.lower() not in drop)


async def _some_of(answer: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body."""
    said = b""
    try:
        while len(said) < answers.MOST_ERROR and (chunk := await answer.content.readany()):
            said += chunk
    except (aiohttp.ClientError, OSError):
        pass
    return said[: answers.MOST_ERROR]


def _because(notice: Notice) -> str:
    return f": {notice.why}" if notice.why else ""

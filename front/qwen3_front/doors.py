"""The ports of the front: all of them listen from the start, so that a Service may lead here before this is known."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket

from aiohttp import web

from qwen3_front import metrics
from qwen3_front.answers import SHORT_RETRY
from qwen3_front.hold import Holder

IDLE_SECONDS = 30.0
"""A connection on which no request came by then is closed."""
BACKLOG = 1024
_CROWDED = b"".join(
    [
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n",
        f"Retry-After: {SHORT_RETRY}\r\n\r\n".encode(),
    ]
)


class Doors:
    """Listens, within a bound of connections."""

    def __init__(self, holder: Holder, most_connections: int) -> None:
        self._holder, self._most = holder, most_connections
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections on which nothing was asked yet."""
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,  # who hangs up does not wait any more
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=1,
            lingering_time=2.0,
            max_line_size=16 << 10,
            max_field_size=32 << 10,
        )
        self._listeners: list[asyncio.Server] = []
        self.ports: list[int] = []
        metrics.CONNECTIONS.set_function(lambda: len(self._http.connections))

    async def open(self, host: str, first_port: int, count: int) -> None:
        """Listen on `count` ports from the first on; free ones where that is 0."""
        allow_files(count + 3 * self._most)
        loop = asyncio.get_running_loop()
        for offset in range(count):
            listening = _listening(host, first_port + offset if first_port else 0)
            self._listeners.append(await loop.create_server(self._protocol, sock=listening, backlog=BACKLOG))
            self.ports.append(listening.getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and end the connections that are left."""
        for listener in self._listeners:
            listener.close()
        await self._http.shutdown(1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if timer := self._silent.pop(request.protocol, None):
            timer.cancel()
        return await self._holder.handle(request)

    def _protocol(self) -> asyncio.BaseProtocol:
        if len(self._http.connections) >= self._most:
            return _Crowded()
        protocol = self._http()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(IDLE_SECONDS, self._close_silent, protocol)
        return protocol

    def _close_silent(self, protocol: asyncio.BaseProtocol) -> None:
        del self._silent[protocol]
        if (transport := getattr(protocol, "transport", None)) is not None:
            transport.abort()


class _Crowded(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(_CROWDED)
        transport.close()


def _listening(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    with contextlib.suppress(OSError):  # a kernel without IPv6
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)


def allow_files(count: int) -> None:
    """Let this process have so many files open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count + 256 if hard == resource.RLIM_INFINITY else min(count + 256, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

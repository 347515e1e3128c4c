"""HTTP/1.1 as far as it is needed to ask a server: one request a connection, over TCP or a Unix socket.

A connection of its own costs a request next to nothing here, is never one that the server has just closed, and lets a
Service choose another server for each.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from qwen3_in_engine.verify.answer import Answer

LONGEST_HEAD = 64 << 10
LONGEST_ANSWER = 256 << 20
"""Bytes; logprobs of many long choices come near it."""
CONNECT_SECONDS = 10.0
DEAD_PEER = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 6))
"""A server whose node is gone never says so: the kernel asks, and ends the connection after three minutes."""


class Unreachable(Exception):
    """No whole answer came."""


@dataclass(frozen=True)
class Address:
    """Where a server listens: a Unix socket, or an http:// URL."""

    socket: str = ""
    url: str = ""
    key: str = ""
    """API key; empty: none is sent."""

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The answer to one request. Raises Unreachable."""
        try:
            async with self._connected() as (reader, writer):
                writer.write(self._head(method, path, len(body)) + body)
                await writer.drain()
                return await _reply(reader)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError) as error:  # noqa: UP041 - two classes in 3.10
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self.socket:
            opening = asyncio.open_unix_connection(self.socket, limit=LONGEST_HEAD)
        else:
            target = urlsplit(self.url)
            opening = asyncio.open_connection(target.hostname, target.port or 80, limit=LONGEST_HEAD)
        reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        try:
            if not self.socket:
                peer = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in DEAD_PEER:
                    peer.setsockopt(socket.IPPROTO_TCP, option, value)
            yield reader, writer
        finally:
            writer.close()
            with suppress(Exception):
                await writer.wait_closed()

    def _head(self, method: str, path: str, length: int) -> bytes:
        target = urlsplit(self.url)
        lines = [
            f"{method} {target.path.rstrip('/')}{path} HTTP/1.1",
            f"Host: {target.netloc or 'localhost'}",
            "Connection: close",
            f"Content-Length: {length}",
            "Content-Type: application/json",
        ]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode()


async def _reply(reader: asyncio.StreamReader) -> Answer:
    status, headers = await _head_of(reader)
    while status == 100:
        status, headers = await _head_of(reader)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Answer(status, await _chunks(reader))
    if (length := headers.get("content-length")) is not None:
        return Answer(status, await reader.readexactly(_bounded(int(length))))
    body = bytearray()
    while more := await reader.read(1 << 20):
        body += more
        _bounded(len(body))
    return Answer(status, bytes(body))


async def _head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    status = head[0].split()[1:2] or [""]
    return int(status[0]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        _bounded(len(body) + size)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(body)


def _bounded(size: int) -> int:
    if not 0 <= size <= LONGEST_ANSWER:
        raise ValueError(f"an answer of more than {LONGEST_ANSWER >> 20} MiB")
    return size

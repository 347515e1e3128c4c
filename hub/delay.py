"""A line with latency in front of a port, in user space: for kernels without netem, and without root.

Every byte of a connection arrives half a round trip after it was sent, both ways, and a new connection costs the round
trip of its handshake (loopback connects at once, so what the client says first is held back for it). TLS handshakes and
requests then take theirs by themselves. A connection's bandwidth is limited by the hub, where it sends
(`--connection-rate`). Loss and slow start are not modelled: a new connection has its full rate from its first byte.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

_READ = 64 * 1024
_WINDOW = 128
"""Reads in flight, each way of a connection: 8 MiB."""
_Line = asyncio.Queue[tuple[float, bytes]]


class DelayLine:
    """Listens on a free port of `host` as long as the process lives, and hands on to `port` there."""

    def __init__(self, host: str, port: int, rtt: float) -> None:
        self._target = host, port
        self._rtt = rtt
        self._listening = threading.Event()
        self.port = 0
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="delay-line", daemon=True).start()
        if not self._listening.wait(10):
            raise RuntimeError("the delay line does not listen")

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, self._target[0], 0, backlog=128)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shaken = asyncio.get_running_loop().time() + self._rtt
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        there, back = _Line(_WINDOW), _Line(_WINDOW)
        try:
            async with asyncio.TaskGroup() as ends:
                ends.create_task(self._hear(reader, there, shaken))
                ends.create_task(self._say(there, far_writer))
                ends.create_task(self._hear(far_reader, back))
                ends.create_task(self._say(back, writer))
        except* OSError:  # one side has broken off, and so does the other
            for end in (writer, far_writer):
                end.transport.abort()
        finally:
            for end in (writer, far_writer):
                end.close()

    async def _hear(self, reader: asyncio.StreamReader, line: _Line, not_before: float = 0.0) -> None:
        clock, data = asyncio.get_running_loop().time, b"-"
        while data:
            data = await reader.read(_READ)
            await line.put((max(clock(), not_before) + self._rtt / 2, data))

    async def _say(self, line: _Line, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await line.get()
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            if not data:
                with suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

"""What goes on beside the asking: progress, the stall limit, and the metrics for who scrapes them."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress

from qwen3_in_engine.batch_runner.asking import Asker
from qwen3_in_engine.batch_runner.contract import AGAIN, METRICS_PORT, PROGRESS_SECONDS, Stop
from qwen3_in_engine.batch_runner.engine import OwnEngine, Server
from qwen3_in_engine.batch_runner.meter import Meter
from qwen3_in_engine.batch_runner.report import Progress, say

READ_SECONDS = 1.0
"""Between two reads of the engine's metrics while it is young; later they are read for each progress line."""
LONGEST_REQUEST, REQUEST_SECONDS = 8 << 10, 5.0
PORT_VARIABLE = "BATCH_METRICS_PORT"


class Watch:
    """Watches the server that is asked at the time."""

    def __init__(self, progress: Progress, asker: Asker, stall_seconds: float) -> None:
        self._progress, self._asker, self._stall = progress, asker, stall_seconds
        self._server: Server | None = None

    def ready(self, server: Server | None) -> None:
        """Another server is there; None: there is none at the time."""
        self._server, self._progress.meter = server, server.meter if server else Meter()
        self._progress.meter.touch()

    async def work(self) -> None:
        """For ever. Raises Stop where the engine hangs."""
        while True:
            young = not self._progress.meter.generated
            await asyncio.sleep(READ_SECONDS if young else min(PROGRESS_SECONDS, max(self._stall, READ_SECONDS)))
            server = self._server
            self._progress.running = len(self._asker.in_flight)
            if isinstance(server, OwnEngine):
                server.meter.read(await server.metrics())
                self._check(server)
            self._progress.report()

    def _check(self, server: Server) -> None:
        silent = time.monotonic() - server.meter.moved_at
        if self._asker.in_flight and silent > self._stall:
            words = (
                f"vLLM's engine owes {len(self._asker.in_flight):,} answers and has made no token for {silent:.0f} s"
            )
            raise Stop(AGAIN, "EngineStalled", f"{words}: another pod takes over")

    async def metrics_text(self) -> str:
        """Ours, and the engine's."""
        theirs = await self._server.metrics() if isinstance(self._server, OwnEngine) else ""
        return self._progress.metrics() + theirs


async def serve_metrics(watch: Watch) -> asyncio.AbstractServer | None:
    """Answer GET /metrics. Without the port the batch runs all the same."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_SECONDS)
            known = asked.split(b" ")[:2] == [b"GET", b"/metrics"]
            text = (await watch.metrics_text()).encode() if known else b"only GET /metrics is answered\n"
            status = "200 OK" if known else "404 Not Found"
            kind, length = "text/plain; version=0.0.4; charset=utf-8", len(text)
            head = f"Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            writer.write(f"HTTP/1.1 {status}\r\n{head}".encode() + text)
            await writer.drain()
        except (OSError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError):  # noqa: UP041 - two classes in 3.10
            pass
        finally:
            writer.close()

    port = int(os.environ.get(PORT_VARIABLE, METRICS_PORT))
    try:
        return await asyncio.start_server(answer, port=port, limit=LONGEST_REQUEST)
    except OSError as error:
        say({"event": "no metrics", "message": str(error)})
        return None


async def stopped(task: asyncio.Task[None]) -> None:
    """End a task, whatever it comes to."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task

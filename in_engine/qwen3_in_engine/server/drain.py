"""The way out that nobody notices: a pod that is to stop goes on answering until its clients have gone elsewhere.

The preStop hook (pre_stop.py) writes a file, this side answers by files: only a process of the container can do that.
Clients keep their connections: one that stays on a pod after its Service forgot it gets errors once vLLM shuts down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen3_in_engine.server.asgi import Message, Send
from qwen3_in_engine.server.requests import Requests

POLL_SECONDS = 0.2
IDLE_SECONDS = 1.0
"""A connection without a request for so long is closed: its client has had the time to send one on it."""
RETRY_SECONDS = 1


def this_container() -> str:
    """An id of this container, for the files of the one before it are still there: when its first process started."""
    with suppress(OSError, IndexError):
        return Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return "0"


def asked(folder: Path) -> Path:
    """The file by which the hook asks."""
    return folder / f"qwen3-drain-{this_container()}"


def seen(folder: Path, pid: int | str) -> Path:
    """The file by which a server process says that it has seen it."""
    return folder / f"{asked(folder).name}-seen-{pid}"


def done(folder: Path, pid: int | str) -> Path:
    """The file by which it says that nobody is there any more."""
    return folder / f"{asked(folder).name}-done-{pid}"


class Drain:
    """State of the drain of one server process."""

    def __init__(
        self,
        requests: Requests,
        settle_seconds: float,
        drain_seconds: float,
        *,
        pid: int,
        folder: Path,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests, self._settle, self._limit = requests, settle_seconds, drain_seconds
        self._pid, self._folder, self._now = pid, folder, now
        self._idle_since: dict[int, float] = {}
        self.draining = False
        """Whether each answer asks its client to connect anew."""
        self.over = False
        """Whether requests are refused: the process is about to get SIGTERM."""

    async def watch(self, server: Callable[[], Any], fault: Callable[[], str]) -> None:
        """Wait until the hook asks, then drain. `server` gives the uvicorn server, `fault` why it is dead anyway."""
        while not asked(self._folder).exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(POLL_SECONDS)
        self.draining = True
        seen(self._folder, self._pid).touch()
        started = self._now()
        while not fault():
            settled = self._now() - started >= self._settle
            if settled:
                self._close_idle(server())
            gone = settled and not self._requests.in_flight and not _connections(server())
            if gone or self._now() - started >= self._settle + self._limit:
                break
            await asyncio.sleep(POLL_SECONDS)
        self.over = True
        done(self._folder, self._pid).touch()

    def closing(self, send: Send) -> Send:
        """`send` of an answer that asks its client to connect anew."""

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message["headers"] = [*kept, (b"connection", b"close")]
            await send(message)

        return send_and_close

    def _close_idle(self, server: Any) -> None:
        """Close connections on which nothing has been asked for a while."""
        idle = {id(connection): connection for connection in _connections(server) if _is_idle(connection)}
        self._idle_since = {key: self._idle_since.get(key, self._now()) for key in idle}
        for key, connection in idle.items():
            if self._now() - self._idle_since[key] >= IDLE_SECONDS:
                with suppress(Exception):  # another uvicorn: it closes them itself after its keep-alive timeout
                    connection.shutdown()


def _connections(server: Any) -> list[Any]:
    return list(getattr(getattr(server, "server_state", None), "connections", ()))


def _is_idle(connection: Any) -> bool:
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(getattr(cycle, "response_complete", False))

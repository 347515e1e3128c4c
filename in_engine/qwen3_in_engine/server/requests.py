"""The requests that a server has, and on whom each of them waits: client, engine, or client again."""

from __future__ import annotations

import time
from collections.abc import Callable

from qwen3_in_engine.server.asgi import Message, Receive, Send

GENERATING = ("/completions", "/embeddings", "/messages", "/rerank", "/score", "/classify", "/pooling")
"""Ends of the paths that are answered by the engine alone."""


class Requests:
    """All requests in flight."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.in_flight: set[Request] = set()
        self.progress_at = now()
        """When an answer of the engine went on last."""

    def waiting_on_engine(self) -> int:
        """Number of requests whose next word is the engine's."""
        return sum(request.since is not None for request in self.in_flight)

    def silent_seconds(self) -> float:
        """How long the engine has owed an answer, and given none to anybody; 0 where nobody waits."""
        waiting = [request.since for request in self.in_flight if request.since is not None]
        return self.now() - max(min(waiting), self.progress_at) if waiting else 0.0


class Request:
    """One request: `receive` and `send` are its application's, and note who has the next word."""

    __slots__ = ("_all", "_receive", "_send", "since")

    def __init__(self, requests: Requests, receive: Receive, send: Send) -> None:
        self._all, self._receive, self._send = requests, receive, send
        self.since: float | None = None
        """Since when it waits on the engine; None while it waits on its client."""

    async def receive(self) -> Message:
        """The next part of the request's body."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.since = self._all.now()
        return message

    async def send(self, message: Message) -> None:
        """The next part of the answer: a client that reads slowly is waited on here, and not the engine."""
        self.since, self._all.progress_at = None, self._all.now()
        await self._send(message)
        if message["type"] == "http.response.start" or message.get("more_body", False):
            self.since = self._all.now()

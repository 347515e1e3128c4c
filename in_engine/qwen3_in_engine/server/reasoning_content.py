"""Answers carry their reasoning in `reasoning_content` too, as vLLM's did before 0.16."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from qwen3_in_engine.server.asgi import App, Message, Receive, Scope, Send

_MARK = b'"reasoning"'
_HAS_OLD_FIELD = b'"reasoning_content":'
_FIELD = re.compile(rb'"reasoning"\s*:\s*(?P<value>"[^"\\]*(?:\\.[^"\\]*)*"|null)')
"""The key and its value. Inside a JSON string every quote has a backslash before it, so only a real key matches.
Parsing the JSON instead costs several times as much (tests/perf/reasoning_content)."""


class ReasoningContentMiddleware:
    """Wraps the application; only answers of `/v1/chat/completions` are touched."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http" and scope.get("path", "").rstrip("/").endswith("/chat/completions"):
            send = _Answer(send)
        await self.app(scope, receive, send)


class _Answer:
    """The `send` of one request: reads the headers, then rewrites the body as JSON, as a stream, or not at all."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None  # held back while a JSON body is collected: its length changes
        self._rewrite: Callable[[Message], Awaitable[None]] = send
        self._pending = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body":
            await self._rewrite(message)
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        headers = {name.lower(): value for name, value in message.get("headers", ())}
        kind = headers.get(b"content-type", b"").split(b";")[0].strip()
        if message["status"] == 200 and b"content-encoding" not in headers:
            if kind == b"application/json":
                self._start, self._rewrite = message, self._json
                return
            if kind == b"text/event-stream":
                self._rewrite = self._stream
        await self._send(message)

    async def _json(self, message: Message) -> None:
        self._pending += message.get("body", b"")
        if message.get("more_body", False):
            return
        assert self._start is not None
        body = with_old_field(self._pending)
        self._start["headers"] = [
            (name, str(len(body)).encode() if name.lower() == b"content-length" else value)
            for name, value in self._start["headers"]
        ]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, message: Message) -> None:
        more = message.get("more_body", False)
        lines = (self._pending + message.get("body", b"")).split(b"\n")
        self._pending = lines.pop() if more else b""  # a line that has not ended yet
        ended = [_event_line(line) for line in lines]
        body = b"\n".join([*ended, b""]) if more and ended else b"\n".join(ended)
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _event_line(line: bytes) -> bytes:
    if not line.startswith(b"data:") or _MARK not in line:
        return line
    return b"data: " + with_old_field(line[len(b"data:") :].strip())


def with_old_field(body: bytes) -> bytes:
    """An answer, or a chunk of one, as JSON with `reasoning` repeated under its old name; other bytes stay."""
    if _MARK not in body or _HAS_OLD_FIELD in body:
        return body
    return _FIELD.sub(rb'\g<0>,"reasoning_content":\g<value>', body)

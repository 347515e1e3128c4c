"""Asking the application itself, inside its process: no port, no probe, no user is in the way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from qwen3_in_engine.server.asgi import App, Message, Scope
from qwen3_in_engine.verify.answer import Answer

LONGEST_ANSWER = 4 << 20


async def ask(app: App, like: Scope, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
    """The response of `app`. `like`: the scope of any request that came to it. Raises ValueError for one too long."""
    content = b"" if body is None else json.dumps(body).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(content)).encode()))
    if key := os.environ.get("VLLM_API_KEY"):
        headers.append((b"authorization", f"Bearer {key}".encode()))
    state = {**like.get("state", {})}  # what vLLM notes there is of this request alone
    scope = {
        **like,
        "state": state,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    sent, status, received = False, 0, bytearray()

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # the client stays until it has its answer
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            received.extend(message.get("body", b""))
            if len(received) > LONGEST_ANSWER:
                raise ValueError(f"an answer of more than {LONGEST_ANSWER} bytes")

    await app(scope, receive, send)
    return Answer(status, bytes(received))

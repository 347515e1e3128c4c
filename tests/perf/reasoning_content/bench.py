"""What the reasoning_content middleware costs a stream: microseconds a chunk, and the share of a core at a given rate.

python -m tests.perf.reasoning_content.bench
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from qwen3_in_engine.server.asgi import Message
from qwen3_in_engine.server.reasoning_content import ReasoningContentMiddleware

CHUNKS = 20_000
ROUNDS = 7
SERVED_TOKENS_PER_SECOND = 7012
"""Qwen3-8B on two H200, 64 requests at once: the fastest server measured (reference of the project)."""


def _chunk(field: str) -> bytes:
    delta = {"index": 0, "delta": {field: " 阶乘"}, "logprobs": None, "finish_reason": None}
    chunk = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1763900000,
        "model": "Qwen3-8B",
        "choices": [delta],
    }
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def _stream(chunk: bytes, *, wrapped: bool) -> float:
    """CPU seconds to send CHUNKS chunks through the middleware, or past it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        del message

    target = ReasoningContentMiddleware(app) if wrapped else app
    begin = time.process_time()
    await target({"type": "http", "path": "/v1/chat/completions"}, receive, send)
    return time.process_time() - begin


def main() -> None:
    """Print the cost for chunks of reasoning (rewritten) and of content (passed)."""
    for field in ("reasoning", "content"):
        times = {
            wrapped: min(asyncio.run(_stream(_chunk(field), wrapped=wrapped)) for _ in range(ROUNDS))
            for wrapped in (False, True)
        }
        cost = (times[True] - times[False]) / CHUNKS
        share = 100 * cost * SERVED_TOKENS_PER_SECOND
        print(
            f"{field:9}: {cost * 1e6:5.2f} µs a chunk; {share:.1f} % of a core at {SERVED_TOKENS_PER_SECOND} tokens/s"
        )


if __name__ == "__main__":
    main()

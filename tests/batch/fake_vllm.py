"""What the runner starts in the place of `vllm serve`: a server on a Unix socket that answers without a model.

A request whose text holds one of these words gets more than an answer: `poison` (the process dies), `hang` (no answer,
and no token any more), `mistake` (HTTP 500), `too long` (HTTP 400), `busy` (HTTP 429, five times).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

SECONDS = float(os.environ.get("FAKE_SECONDS", "0"))
"""Time that an answer takes."""
AT_ONCE = asyncio.Semaphore(int(os.environ.get("FAKE_AT_ONCE", "64")))
KNOWN = ("model", "messages", "prompt", "temperature", "max_tokens", "seed", "n", "chat_template_kwargs", "tools")
DESCRIPTION = {
    "components": {"schemas": {"Request": {"properties": {name: {} for name in KNOWN}}}},
    "paths": {
        path: {
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}}}
            }
        }
        for path in ("/v1/chat/completions", "/v1/completions")
    },
}


class Fake:
    """One server."""

    generated = 0
    hangs = False
    busy = 5

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length"))
        body = await reader.readexactly(length)
        status, answer = await self.answer(head.split()[1], body)
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False).encode()
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    async def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and answer."""
        if path == "/openapi.json":
            return 200, DESCRIPTION
        if path == "/metrics":
            return 200, f'vllm:generation_tokens_total{{engine="0"}} {self.generated}.0\n'
        if path in ("/health", "/v1/models"):
            return 200, {}
        return await self.generate(json.loads(body))

    async def generate(self, asked: dict[str, Any]) -> tuple[int, Any]:
        """The answer to a chat or a completion."""
        chat = "messages" in asked
        text = asked["messages"][-1]["content"] if chat else asked["prompt"]
        if "poison" in text or "FAKE_BROKEN" in os.environ:
            os._exit(1)
        self.hangs = self.hangs or "hang" in text
        if self.hangs:
            await asyncio.Event().wait()
        if "busy" in text and self.busy:
            self.busy -= 1
            return 429, {"error": {"message": "the queue is full", "code": 429}}
        if "mistake" in text:
            return 500, {"error": {"message": "a mistake of the server", "code": 500}}
        if "too long" in text or (asked.get("max_tokens") or 0) > 1000:
            return 400, {"error": {"message": "This model's maximum context length is 1000 tokens", "code": 400}}
        async with AT_ONCE:
            await asyncio.sleep(SECONDS)
        self.generated += 3
        said = f"answer to {text}"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}} if chat else {"index": 0, "text": said}
        return 200, {
            "id": "x",
            "object": "chat.completion" if chat else "text_completion",
            "model": asked.get("model"),
            "choices": [choice],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
            "asked": asked,
        }


async def main(path: str) -> None:
    await (await asyncio.start_unix_server(Fake().serve, path, backlog=4096)).serve_forever()


if __name__ == "__main__":
    with Path(os.environ["FAKE_START_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
    if code := os.environ.get("FAKE_EXIT"):
        sys.exit(int(code))
    asyncio.run(main(sys.argv[sys.argv.index("--uds") + 1]))

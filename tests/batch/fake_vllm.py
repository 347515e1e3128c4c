"""What the runner starts in the place of `vllm serve`: a server on a Unix socket that answers without a model.

A request whose text holds one of these words gets more than an answer: `poison` (the process dies), `hang` (no answer,
and no token any more), `mistake` (HTTP 500), `too long` (HTTP 400), `busy` (HTTP 429, five times).

FAKE_FAULT says in what it is no Qwen3: `parser` (a chat that does not think is nothing but reasoning), `template` (no
chat is rendered), `zero` (so are its embeddings), `models` (their list is no JSON), `tools` (it dies of one).
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
FAULT = os.environ.get("FAKE_FAULT", "")
MODELS = {"data": [{"id": "Qwen3-8B", "max_model_len": 4096}]}
VECTORS = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]
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
        if path == "/health":
            return 200, {}
        if path == "/v1/models":
            return 200, MODELS if FAULT != "models" else "<html>"
        if path == "/v1/embeddings":
            vectors = VECTORS if FAULT != "zero" else [[0.0, 0.0]] * 3
            return 200, {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}
        if path == "/v1/rerank":
            return 200, {"results": [{"index": 0, "relevance_score": 0.9}]}
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return 404, {"detail": "Not Found"}
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
        if chat and FAULT == "template":
            return 400, {"error": {"message": "'foo' is undefined", "code": 400}}
        if "tools" in asked and FAULT == "tools":
            os._exit(1)
        async with AT_ONCE:
            await asyncio.sleep(SECONDS)
        self.generated += 3
        said = f"answer to {text}"
        message = {"role": "assistant", "content": said}
        if FAULT == "parser" and not asked.get("chat_template_kwargs", {}).get("enable_thinking", True):
            message = {"role": "assistant", "reasoning": said}
        if asked.get("stream"):
            event = json.dumps({"choices": [{"delta": message, "finish_reason": "stop"}]})
            return 200, f"data: {event}\n\ndata: [DONE]\n\n"
        choice = {"index": 0, "message": message} if chat else {"index": 0, "text": said}
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

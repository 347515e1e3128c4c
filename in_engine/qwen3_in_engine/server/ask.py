"""Asking the application itself, inside its process: no port, no probe, no user is in the way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen3_in_engine.server.asgi import App, Message, Scope

LONGEST_ANSWER = 4 << 20


@dataclass(frozen=True)
class Answer:
    """Status and body of one response."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body. Raises ValueError."""
        return json.loads(self.body)

    def words(self) -> str:
        """The beginning of the body, for a person."""
        text = " ".join(self.body[:2000].decode("utf-8", "replace").split())
        return f"HTTP {self.status} {text[:300]}"


@dataclass
class Said:
    """What a chat answered, whole or put together from a stream."""

    content: str = ""
    reasoning: str = ""
    tools: list[dict[str, str]] = field(default_factory=list)
    """Name and arguments (JSON as text) of each call."""
    finish: str = ""

    @property
    def shape(self) -> tuple[bool, bool, bool]:
        """Which fields carry anything: content, reasoning, tool calls."""
        return bool(self.content.strip()), bool(self.reasoning.strip()), bool(self.tools)

    def add(self, message: Mapping[str, Any], finish: str | None) -> None:
        """Add a message, or a delta of one."""
        self.content += message.get("content") or ""
        self.reasoning += message.get("reasoning") or message.get("reasoning_content") or ""
        for call in message.get("tool_calls") or ():
            self._add_call(call)
        self.finish = finish or self.finish

    def _add_call(self, call: Mapping[str, Any]) -> None:
        function, index = call.get("function") or {}, call.get("index", len(self.tools))
        while len(self.tools) <= index < 64:
            self.tools.append({"name": "", "arguments": ""})
        if index < len(self.tools):
            self.tools[index]["name"] += function.get("name") or ""
            self.tools[index]["arguments"] += function.get("arguments") or ""


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


def said_in(answer: Answer, *, stream: bool) -> Said:
    """What a chat's answer says. Raises ValueError where it is none."""
    said = Said()
    try:
        for part in _events(answer.body) if stream else [answer.json()]:
            for choice in part["choices"][:1]:
                said.add(choice["delta" if stream else "message"], choice.get("finish_reason"))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"no answer of a chat: {answer.words()}") from error
    return said


def _events(body: bytes) -> list[Any]:
    lines = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")]
    parts = [json.loads(line) for line in lines if line != b"[DONE]"]
    if wrong := next((part["error"] for part in parts if isinstance(part, dict) and "error" in part), None):
        raise ValueError(f"a stream ended by an error: {str(wrong)[:300]}")
    return [part for part in parts if part.get("choices")]

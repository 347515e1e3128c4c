"""What was answered: one response, and what a chat says in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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

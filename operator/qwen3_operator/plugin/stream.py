"""An answer of the OpenAI API as it comes: what is reasoning, what is the answer. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

LONGEST_LINE = 2**20


@dataclass(frozen=True)
class Piece:
    """A piece of an answer."""

    kind: Literal["reasoning", "content", "usage", "error", "end"]
    text: str = ""
    tokens: int = 0


def pieces(lines: Iterable[bytes]) -> Iterator[Piece]:
    """The pieces in the lines of an event stream. `end` says why it ended."""
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        said = line[5:].strip()
        if said == b"[DONE]":
            return
        try:
            chunk = json.loads(said)
        except ValueError:
            yield Piece("error", f"the server sent what is no JSON: {said[:200].decode(errors='replace')}")
            return
        yield from _of_chunk(chunk if isinstance(chunk, dict) else {})


def _of_chunk(chunk: dict[str, Any]) -> Iterator[Piece]:
    if error := chunk.get("error"):
        yield Piece("error", str(error.get("message") if isinstance(error, dict) else error))
        return
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        # vLLM calls it reasoning; before 0.12, and with reasoningContentField, reasoning_content.
        if reasoning := delta.get("reasoning") or delta.get("reasoning_content"):
            yield Piece("reasoning", str(reasoning))
        if content := delta.get("content"):
            yield Piece("content", str(content))
        if reason := choice.get("finish_reason"):
            yield Piece("end", str(reason))
    if usage := chunk.get("usage"):
        yield Piece("usage", tokens=int(usage.get("completion_tokens") or 0))


def error_words(status: int, body: bytes) -> str:
    """What a server's refusal says."""
    try:
        said = json.loads(body)
        error = said.get("error", said)
        words = error.get("message") or error.get("detail") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        words = body[:300].decode(errors="replace").strip()
    if status == 401:
        return "the server wants a key, and not this one"
    return f"the server answered {status}: {words}"

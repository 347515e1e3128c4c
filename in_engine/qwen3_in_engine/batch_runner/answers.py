"""The output: one JSON line for each line of the input, in OpenAI's batch format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.batch_runner.lines import BadLine, Request
from qwen3_in_engine.verify.answer import Answer

_CODES = {401: "unauthorized", 403: "unauthorized", 404: "model_not_found", 413: "request_too_large"}
_TOO_LONG = ("maximum context length", "max_model_len", "longer than the maximum model length")


@dataclass(frozen=True)
class Usage:
    """Tokens of an answer."""

    prompt: int = 0
    completion: int = 0

    @classmethod
    def of(cls, body: Any) -> Usage:
        """What a response's body says of itself."""
        usage = body.get("usage") if isinstance(body, Mapping) else None
        if not isinstance(usage, Mapping):
            return cls()
        return cls(_count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens"))


def answer_line(batch: str, request: Request, body: bytes) -> str:
    """The line of a request that was answered: `response.body` is what the server said, as it said it."""
    identifier = f"{batch}-{request.index}"
    text = body.decode("utf-8")
    if "\n" in text:
        text = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    response = f'{{"status_code":200,"request_id":"req-{identifier}","body":{text}}}'
    return _line(identifier, request.custom_id, response, None)


def error_line(batch: str, index: int, error: BadLine) -> str:
    """The line of a line that cannot be answered."""
    problem = {"code": error.code, "message": error.message}
    return _line(f"{batch}-{index}", error.custom_id or f"line-{index + 1}", "null", problem)


def _line(identifier: str, custom_id: str, response: str, error: Any) -> str:
    def dumped(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    head = f'{{"id":"batch_req_{identifier}","custom_id":{dumped(custom_id)}'
    return f'{head},"response":{response},"error":{dumped(error)}}}'


def refusal(request: Request, reply: Answer) -> BadLine:
    """The server's refusal of a request, in its own words."""
    try:
        said = reply.json()
    except ValueError:
        said = reply.body[:500].decode("utf-8", "replace")
    error = said.get("error", said) if isinstance(said, dict) else said
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    words = str(message or f"HTTP {reply.status}")[:4000]
    code = _CODES.get(reply.status, "invalid_request" if reply.status < 500 else "server_error")
    if any(sign in words for sign in _TOO_LONG):
        code = "context_length_exceeded"
    return BadLine(code, f"line {request.index + 1}: {words}", request.custom_id)


@dataclass
class Tally:
    """Counts of a shard, from the lines that it wrote now and before."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def count(self, usage: Usage | None) -> None:
        """Add a line: the tokens of an answer, or None for an error."""
        if usage is None:
            self.failed += 1
        else:
            self.done += 1
            self.prompt_tokens += usage.prompt
            self.completion_tokens += usage.completion

    def recount(self, line: Mapping[str, Any]) -> None:
        """Add a line that was read back from the volume."""
        response = line.get("response")
        self.count(Usage.of(response.get("body")) if response else None)

    @property
    def finished(self) -> int:
        """Lines that are finished, one way or the other."""
        return self.done + self.failed


def _count(usage: Mapping[str, Any], *names: str) -> int:
    return next((value for name in names if isinstance(value := usage.get(name), int)), 0)

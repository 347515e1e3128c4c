"""The output: one JSON line for each line of the input, in OpenAI's batch format."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.batch_runner.lines import BadLine, Request


@dataclass(frozen=True)
class Choice:
    """One text that was generated."""

    text: str
    finish_reason: str
    tokens: int


@dataclass(frozen=True)
class Answer:
    """What the engine made of a request. `prompt` is the text that the model saw."""

    choices: tuple[Choice, ...]
    prompt: str
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, of all choices."""
        return sum(choice.tokens for choice in self.choices)


def answer_line(batch: str, request: Request, answer: Answer, model: str, *, include_prompt: bool) -> str:
    """The line of a request that was answered: `response.body` is a chat completion or a completion."""
    identifier, chat = f"{batch}-{request.index}", request.messages is not None
    choices: list[dict[str, Any]] = [
        {"index": number, "finish_reason": choice.finish_reason, "logprobs": None}
        | ({"message": {"role": "assistant", "content": choice.text}} if chat else {"text": choice.text})
        for number, choice in enumerate(answer.choices)
    ]
    body: dict[str, Any] = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{identifier}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": request.model or model,
        "choices": choices,
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        },
    }
    if include_prompt:
        body["prompt"] = answer.prompt
    response = {"status_code": 200, "request_id": f"req-{identifier}", "body": body}
    return _line(identifier, request.custom_id, response, None)


def error_line(batch: str, index: int, error: BadLine) -> str:
    """The line of a line that cannot be answered."""
    problem = {"code": error.code, "message": error.message}
    return _line(f"{batch}-{index}", error.custom_id or f"line-{index + 1}", None, problem)


def _line(identifier: str, custom_id: str, response: Any, error: Any) -> str:
    line = {"id": f"batch_req_{identifier}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Tally:
    """Counts of a shard, from the lines that it wrote now and before."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def count(self, answer: Answer | None) -> None:
        """Add a line: an answer, or None for an error."""
        if answer is None:
            self.failed += 1
        else:
            self.done += 1
            self.prompt_tokens += answer.prompt_tokens
            self.completion_tokens += answer.completion_tokens

    def recount(self, line: dict[str, Any]) -> None:
        """Add a line that was read back from the volume."""
        response = line.get("response")
        if not response:
            self.failed += 1
            return
        usage = response["body"]["usage"]
        self.done += 1
        self.prompt_tokens += usage["prompt_tokens"]
        self.completion_tokens += usage["completion_tokens"]

    @property
    def finished(self) -> int:
        """Lines that are finished, one way or the other."""
        return self.done + self.failed

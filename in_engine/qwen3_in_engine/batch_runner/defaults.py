"""What a line gets that it does not say itself: the words of the Qwen3Batch, and the model's name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_in_engine.batch_runner.lines import CHAT, COMPLETION, BadLine, Request

_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Body:
    """The body as it is sent."""

    fields: Mapping[str, Any]

    def encoded(self) -> bytes:
        """As JSON."""
        return json.dumps(self.fields, ensure_ascii=False, separators=(",", ":")).encode()

    def as_long_as_may_be(self) -> Body | None:
        """The same without its limit, which the server then sets to what the prompt leaves; None where it has none."""
        if all(self.fields.get(limit) is None for limit in _LIMITS):
            return None
        return Body({key: value for key, value in self.fields.items() if key not in _LIMITS} | {"max_tokens": None})


def completed(request: Request, config: Config, known: Set[str]) -> Body:
    """The body of a request with everything that it gets by default.

    `known`: fields that this server's API has for such requests; empty: not known. Raises BadLine for one that would
    be ignored.
    """
    said = dict(request.body)
    if known and (unknown := sorted(said.keys() - known)):
        words = f"line {request.index + 1}: {', '.join(unknown)} is not supported by this vLLM for {request.path}"
        raise BadLine("unsupported_parameter", words, request.custom_id)
    if config.models:
        said.setdefault("model", config.models[0])
    if request.path not in (CHAT, COMPLETION):
        return Body(said)
    if request.path == CHAT and config.thinks is not None:
        said["chat_template_kwargs"] = {"enable_thinking": config.thinks, **said.get("chat_template_kwargs", {})}
    if config.seed is not None:
        said.setdefault("seed", config.seed + request.index)
    for name, value in (
        config.sampling_thinking if _thinks(request.path, said, config) else config.sampling_plain
    ).items():
        if name != "max_tokens" or not any(limit in said for limit in _LIMITS):
            said.setdefault(name, value)
    if request.path == COMPLETION and not any(limit in said for limit in _LIMITS):
        said["max_tokens"] = None  # OpenAI's own default is 16 tokens: here it is what the prompt leaves
    if config.include_prompt:
        said["return_token_ids"] = True
    return Body(said)


def _thinks(path: str, said: Mapping[str, Any], config: Config) -> bool:
    default = config.thinks_by_default if config.thinks is None else config.thinks
    return path == CHAT and bool(said.get("chat_template_kwargs", {}).get("enable_thinking", default))

"""The lines of an input: each a request for vLLM's API, or an error in words.

What a request may say is vLLM's to judge. Refused here is only what vLLM would answer wrong or die of, and what is
known without it: so a file without one good line never starts an engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.batch_runner.contract import Config

CHAT, COMPLETION, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"
_GENERATING = (CHAT, COMPLETION, RESPONSES)
_POOLING = (EMBEDDINGS, "/v1/score", "/score", RERANK, "/v2/rerank", "/rerank", "/pooling", "/classify")
PATHS: Mapping[str, tuple[str, ...]] = {"generate": _GENERATING, "embed": _POOLING, "rerank": _POOLING}
"""Task of a model -> the URLs that its lines may have."""

# Fields of OpenAI's that change no answer, and values that ask for nothing.
_WITHOUT_EFFECT = {
    *("user", "metadata", "store", "service_tier", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "stream_options"),
}
_ASKS_NOTHING: Mapping[str, Any] = {
    "stream": False,
    "background": False,
    "best_of": 1,
    "echo": False,
    "logprobs": False,
    "logit_bias": {},
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "suffix": "",
    "verbosity": "medium",
}
_MOST_CHOICES = 128
_INT64 = range(-(2**63), 2**63)


class BadLine(ValueError):
    """A line that cannot be answered: `code` in one word, the message for a person."""

    def __init__(self, code: str, message: str, custom_id: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.custom_id = code, message, custom_id


@dataclass(frozen=True)
class Request:
    """One line that can be asked. `index` counts lines from 0."""

    index: int
    custom_id: str
    path: str
    body: Mapping[str, Any]
    """What the line says itself; see defaults.py for what it gets besides."""


def parse(line: bytes, index: int, config: Config) -> Request:
    """The request of a line. Raises BadLine."""
    number = index + 1
    try:
        words = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine("invalid_utf8", f"line {number} is not UTF-8 (byte {error.start + 1})") from None
    if not words.strip():
        raise BadLine("empty_line", f"line {number} is empty")
    if config.text:
        return _of_plain({"prompt": words}, index, f"line-{number}", config)
    entry = _json(words, number)
    said = entry.get("custom_id", entry.get("id"))
    custom_id = f"line-{number}" if said is None else str(said)
    try:
        return (_of_openai if "body" in entry else _of_plain)(entry, index, custom_id, config)
    except BadLine as error:
        raise BadLine(error.code, f"line {number}: {error.message}", custom_id) from None


def custom_id_of(line: bytes, index: int, config: Config) -> str:
    """The name of a line, whether it can be asked or not."""
    try:
        return parse(line, index, config).custom_id
    except BadLine as error:
        return error.custom_id or f"line-{index + 1}"


def _json(words: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(words, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise BadLine("invalid_json", f"line {number} is nested too deep") from None
    except ValueError as error:
        where = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else f"it has {error}"
        raise BadLine("invalid_json", f"line {number} is not JSON: {where}") from None
    if not _is_text(words):
        raise BadLine("invalid_unicode", f"line {number} has an escape that is half a character (a lone surrogate)")
    if not isinstance(entry, dict):
        raise BadLine("invalid_request", f"line {number} is no JSON object")
    return entry


def _of_openai(entry: dict[str, Any], index: int, custom_id: str, config: Config) -> Request:
    """An OpenAI batch line: custom_id, method, url, body."""
    paths = PATHS[config.task]
    url, body = str(entry.get("url") or paths[0]), entry["body"]
    if entry.get("method", "POST") != "POST":
        raise BadLine("invalid_request", "method must be POST")
    if not isinstance(body, dict):
        raise BadLine("invalid_request", "body must be a JSON object")
    if url not in paths:
        raise BadLine("unsupported_url", f"url {url} is not answered by this model: use {', '.join(paths)}")
    return Request(index, custom_id, url, _checked(body, config))


def _of_plain(entry: dict[str, Any], index: int, custom_id: str, config: Config) -> Request:
    body = {key: value for key, value in entry.items() if key not in ("id", "custom_id")}
    found = sorted(body.keys() & _PLAIN)
    if len(found) != 1:
        names = ", ".join(_PLAIN)
        raise BadLine("invalid_request", f"a line has one of {names}, or (OpenAI's batch format) a body")
    path, body = _PLAIN[found[0]](body, config)
    if path not in PATHS[config.task]:
        raise BadLine("unsupported_url", f"a line with {found[0]} is not answered by a model for {config.task}")
    return Request(index, custom_id, path, _checked(body, config))


def _prompt(body: dict[str, Any], config: Config) -> tuple[str, dict[str, Any]]:
    prompt = body.pop("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise BadLine("invalid_request", "prompt must be a text that is not empty")
    if config.task != "generate":
        return EMBEDDINGS, {**body, "input": prompt}
    if config.chat:
        return CHAT, {**body, "messages": [{"role": "user", "content": prompt}]}
    return COMPLETION, {**body, "prompt": prompt}


_PLAIN: Mapping[str, Callable[[dict[str, Any], Config], tuple[str, dict[str, Any]]]] = {
    "prompt": _prompt,
    "messages": lambda body, _: (CHAT, body),
    "input": lambda body, _: (EMBEDDINGS, body),
    "documents": lambda body, _: (RERANK, body),
}
"""Field that says what a line without `body` is."""


def _checked(body: dict[str, Any], config: Config) -> dict[str, Any]:
    """The body without what asks for nothing. Raises BadLine."""
    given = {
        key: value
        for key, value in body.items()
        if value is not None and key not in _WITHOUT_EFFECT and not _asks_nothing(key, value)
    }
    if given.get("stream") or given.get("background"):
        raise BadLine("unsupported_parameter", "stream and background make no sense in a file")
    if "messages" in given and not (isinstance(given["messages"], list) and given["messages"]):
        raise BadLine("invalid_request", "messages must be a list that is not empty")
    _check_model(given, config)
    _check_numbers(given, config)
    if "enable_thinking" in given:  # as DashScope takes it
        kwargs = given.get("chat_template_kwargs") or {}
        given["chat_template_kwargs"] = {"enable_thinking": given.pop("enable_thinking"), **kwargs}
    if not isinstance(given.get("chat_template_kwargs", {}), dict):
        raise BadLine("invalid_request", "chat_template_kwargs must be a JSON object")
    return given


def _asks_nothing(key: str, value: Any) -> bool:
    return key in _ASKS_NOTHING and value == _ASKS_NOTHING[key] and type(value) is type(_ASKS_NOTHING[key])


def _check_model(body: dict[str, Any], config: Config) -> None:
    """An answer never comes under the name of a model that did not give it."""
    if config.any_model:
        body.pop("model", None)
    model = body.get("model")
    if model is not None and config.models and model not in config.models:
        words = f"model {model} is not what answers here ({', '.join(config.models)})"
        raise BadLine("model_not_found", f"{words}: spec.input.model: Any has it answer all the same")


def _check_numbers(body: Mapping[str, Any], config: Config) -> None:
    """What vLLM does not check, or only where the engine dies of it."""
    for name in ("n", "best_of"):
        if isinstance(count := body.get(name), int) and count > _MOST_CHOICES:
            raise BadLine("invalid_request", f"{name} must be at most {_MOST_CHOICES}")
    if isinstance(seed := body.get("seed"), int) and seed not in _INT64:
        raise BadLine("invalid_request", "seed must be a whole number of 64 bits")
    tokens = body.get("stop_token_ids")
    if tokens is None:
        return
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise BadLine("invalid_request", "stop_token_ids must be a list of token ids")
    most = config.vocabulary or 2**31
    if not all(0 <= token < most for token in tokens):
        raise BadLine("invalid_request", f"stop_token_ids must be below {most}, the size of the vocabulary")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"the number {text[:20]}, which is too large")


def _is_text(words: str) -> bool:
    """Whether an escape like \\ud800 stands for no character: nobody could write that to a file."""
    if "\\ud" not in words.lower():
        return True
    try:
        json.dumps(json.loads(words), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True

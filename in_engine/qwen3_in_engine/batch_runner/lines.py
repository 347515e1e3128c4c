"""The input: lines of a file, each a request or an error in words."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.contract import BAD_INPUT, Stop

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
# What vLLM itself does not check, or only where the engine dies of it.
_INTEGERS = {
    "top_k": (-1, 2**31 - 1),
    "max_tokens": (1, 2**31 - 1),
    "max_completion_tokens": (1, 2**31 - 1),
    "min_tokens": (0, 2**31 - 1),
    "seed": (-(2**63), 2**63 - 1),
    "n": (1, 128),
}
_DECIMALS = {"temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"}
_SWITCHES = {"ignore_eos", "skip_special_tokens"}
_SAMPLING = {*_INTEGERS, *_DECIMALS, *_SWITCHES, "stop", "stop_token_ids"}
_IGNORED = {"model", "user", "metadata", "store", "service_tier", "stream_options", "safety_identifier"}
_CHAT_ONLY = {"messages", "tools", "tool_choice", "chat_template_kwargs"}


class BadLine(ValueError):
    """A line that cannot be answered: `code` in one word, the message for a person."""

    def __init__(self, code: str, message: str, custom_id: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.custom_id = code, message, custom_id


@dataclass(frozen=True)
class Request:
    """One line that can be answered. `index` counts lines from 0."""

    index: int
    custom_id: str
    messages: list[dict[str, Any]] | None = None
    """A chat; None: `prompt` is completed as it stands."""
    prompt: str = ""
    tools: list[dict[str, Any]] | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class Summary:
    """What a file is: its lines, and the hash of its bytes."""

    lines: int
    sha256: str


def summarize(path: Path) -> Summary:
    """Count and hash the lines. Raises Stop for a file that is not there, cannot be read, or is empty."""
    digest, count = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                count += 1
    except FileNotFoundError:
        raise Stop(BAD_INPUT, "InputNotFound", f"the input {path} does not exist on the volume") from None
    except OSError as error:
        raise Stop(BAD_INPUT, "InputNotReadable", f"the input {path} cannot be read: {error.strerror}") from error
    if count == 0:
        raise Stop(BAD_INPUT, "InputEmpty", f"the input {path} is empty: there is nothing to answer")
    return Summary(count, digest.hexdigest())


def shard_lines(path: Path, shard: int, shards: int) -> Iterator[tuple[int, bytes]]:
    """(index, line without its end) of the lines of one shard: those with index modulo `shards` == `shard`."""
    with path.open("rb") as file:
        for index, line in enumerate(file):
            if index % shards == shard:
                text = line.rstrip(b"\r\n")
                yield index, text.removeprefix(b"\xef\xbb\xbf") if index == 0 else text


def parse(line: bytes, index: int, *, text: bool, chat: bool) -> Request:
    """The request of a line: `text` takes it as a prompt, otherwise it is JSON. Raises BadLine."""
    number = index + 1
    try:
        words = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine("invalid_utf8", f"line {number} is not UTF-8 (byte {error.start + 1})") from None
    if not words.strip():
        raise BadLine("empty_line", f"line {number} is empty")
    if text:
        return _of_prompt(words, index, f"line-{number}", chat, {})
    try:
        entry = json.loads(words, parse_constant=_no_constant)
    except RecursionError:
        raise BadLine("invalid_json", f"line {number} is nested too deep") from None
    except ValueError as error:
        where = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else f"it has {error}"
        raise BadLine("invalid_json", f"line {number} is not JSON: {where}") from None
    if not _is_text(words):
        raise BadLine("invalid_unicode", f"line {number} has an escape that is half a character (a lone surrogate)")
    if not isinstance(entry, dict):
        raise BadLine("invalid_request", f"line {number} is no JSON object")
    said = entry.get("custom_id", entry.get("id"))
    custom_id = f"line-{number}" if said is None else str(said)
    try:
        return _of_openai(entry, index, custom_id) if "body" in entry else _of_plain(entry, index, custom_id, chat)
    except BadLine as error:
        raise BadLine(error.code, f"line {number}: {error.message}", custom_id) from None


def _of_openai(entry: dict[str, Any], index: int, custom_id: str) -> Request:
    """An OpenAI batch line: custom_id, method, url, body."""
    url, body = str(entry.get("url", CHAT)), entry["body"]
    if entry.get("method", "POST") != "POST":
        raise BadLine("invalid_request", "method must be POST")
    if not isinstance(body, dict):
        raise BadLine("invalid_request", "body must be a JSON object")
    if url == CHAT:
        return _of_messages(body, index, custom_id)
    if url == COMPLETION:
        return _of_prompt(body.get("prompt"), index, custom_id, False, body)
    raise BadLine("unsupported_url", f"url {url} is not answered here: use {CHAT} or {COMPLETION}")


def _of_plain(entry: dict[str, Any], index: int, custom_id: str, chat: bool) -> Request:
    body = {k: v for k, v in entry.items() if k not in ("id", "custom_id")}
    if ("prompt" in body) == ("messages" in body):
        raise BadLine("invalid_request", "a line has a prompt, messages, or (OpenAI's batch format) a body")
    if "messages" in body:
        return _of_messages(body, index, custom_id)
    return _of_prompt(body["prompt"], index, custom_id, chat, body)


def _of_prompt(prompt: Any, index: int, custom_id: str, chat: bool, body: dict[str, Any]) -> Request:
    if not isinstance(prompt, str) or not prompt:
        raise BadLine("invalid_request", "prompt must be a text that is not empty")
    if chat:
        rest = {k: v for k, v in body.items() if k != "prompt"}
        return _of_messages(rest | {"messages": [{"role": "user", "content": prompt}]}, index, custom_id)
    sampling = _sampling(body, {"prompt"})
    return Request(index, custom_id, None, prompt, sampling=sampling, model=str(body.get("model") or ""))


def _of_messages(body: dict[str, Any], index: int, custom_id: str) -> Request:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadLine("invalid_request", "messages must be a list that is not empty")
    tools, kwargs = body.get("tools"), body.get("chat_template_kwargs") or {}
    if tools is not None and not isinstance(tools, list):
        raise BadLine("invalid_request", "tools must be a list")
    if not isinstance(kwargs, dict):
        raise BadLine("invalid_request", "chat_template_kwargs must be a JSON object")
    if body.get("tool_choice") not in (None, "auto", "none"):
        raise BadLine("unsupported_parameter", "tool_choice may be auto or none")
    return Request(
        index,
        custom_id,
        [_message(m) for m in messages],
        tools=None if body.get("tool_choice") == "none" else tools,
        template_kwargs=kwargs,
        sampling=_sampling(body, _CHAT_ONLY),
        model=str(body.get("model") or ""),
    )


def _message(message: Any) -> dict[str, Any]:
    """A message as chat templates take it: text parts joined, arguments of tool calls as objects."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadLine("invalid_request", "each of messages must be an object with a role")
    result = dict(message)
    content = message.get("content")
    if isinstance(content, list):
        texts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text"]
        if len(texts) != len(content) or not all(isinstance(t, str) for t in texts):
            raise BadLine("unsupported_content", "only parts of type text can be answered: no images, audio or video")
        result["content"] = "\n".join(texts)  # type: ignore[arg-type]
    elif content is None:
        result["content"] = ""
    elif not isinstance(content, str):
        raise BadLine("invalid_request", "content must be a text or a list of parts")
    if isinstance(message.get("tool_calls"), list):
        result["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
    return result


def _tool_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return call | {"function": function | {"arguments": json.loads(function["arguments"] or "{}")}}
    except ValueError:
        raise BadLine("invalid_request", "arguments of a tool call are not JSON") from None


def _sampling(body: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The fields of a body that vLLM's SamplingParams take. Raises BadLine for one that would be ignored."""
    given = {k: v for k, v in body.items() if k not in known and k not in _IGNORED and v is not None}
    if given.pop("stream", False):
        raise BadLine("unsupported_parameter", "stream makes no sense in a file")
    if unsupported := sorted(given.keys() - _SAMPLING):
        raise BadLine("unsupported_parameter", f"{', '.join(unsupported)} is not supported in a Qwen3Batch")
    for name, value in given.items():
        if problem := _problem(name, value):
            raise BadLine("invalid_request", f"{name} must be {problem}")
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    return given


def _problem(name: str, value: Any) -> str:
    """What a sampling parameter must be and is not; empty where all is well."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _INTEGERS:
        least, most = _INTEGERS[name]
        fits = number and isinstance(value, int) and least <= value <= most
        return "" if fits else f"a whole number from {least} to {most}"
    if name in _DECIMALS:
        return "" if number and math.isfinite(value) else "a number"
    if name in _SWITCHES:
        return "" if isinstance(value, bool) else "true or false"
    kind, words = (str, "a text or a list of texts") if name == "stop" else (int, "a list of token ids")
    found = [value] if name == "stop" and isinstance(value, str) else value
    fits = isinstance(found, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in found)
    return "" if fits else words


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _is_text(words: str) -> bool:
    """Whether an escape like \\ud800 stands for no character: nobody could write that to a file."""
    if "\\ud" not in words.lower():
        return True
    try:
        json.dumps(json.loads(words), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True

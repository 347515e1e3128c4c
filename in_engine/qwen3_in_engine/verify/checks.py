"""Whether a server answers as its model: asked once, before it gets users.

A wrong parser, a broken chat template, another model's tokenizer make a server that is healthy and useless. Only what
proves a fault fails here: a model that did not call the tool, or thought longer than we wait, is not wrong for it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen3_in_engine.verify.answer import Answer, Said, said_in
from qwen3_in_engine.verify.wanted import Verify

Ask = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Answer]]
"""Method, path and body -> the answer."""

SECONDS = 120.0
"""All checks together; what has not been seen by then is not held against the server."""
TOKENS = 48
"""Longest answer of a check: as many as show on which side of the reasoning a text comes out."""
GOLDEN_TOKENS = 512
QUESTION, ANSWER = "What is the capital of France?", "Paris"
TOOL_QUESTION = "北京今天天气怎么样?"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_MARKUP = re.compile(r"</?think>")
_CALL_MARKUP = re.compile(r"</?tool_call>|<function=|\"name\":\s{0,4}\"get_weather\"")


class WrongAnswer(Exception):
    """The server answers otherwise than its plan says; the message names what is to blame, and what was got."""


@dataclass
class Report:
    """What was seen, and what could not be."""

    seen: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def words(self) -> str:
        """For the log."""
        parts = [f"seen: {', '.join(self.seen) or 'nothing'}"]
        return "; ".join([*parts, *([f"not checked: {', '.join(self.open)}"] if self.open else [])])


class _NotChecked(Exception):
    """This could not be asked."""


async def verify(wanted: Verify, ask: Ask) -> Report:
    """Ask the server what its task wants. Raises WrongAnswer."""
    report = Report()
    checks: dict[str, Sequence[tuple[str, Callable[[Verify, Ask], Awaitable[bool]]]]] = {
        "generate": _CHAT,
        "embed": [("embeddings", _embeddings)],
        "rerank": [("ranking", _ranking)],
    }
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS
    for name, check in [("models", _models), *checks.get(wanted.task, ())]:
        try:
            seen = await asyncio.wait_for(check(wanted, ask), deadline - loop.time())
            (report.seen if seen else report.open).append(name)
        except (_NotChecked, asyncio.TimeoutError):  # noqa: UP041 - two classes in Python 3.10
            report.open.append(name)
    return report


async def _models(wanted: Verify, ask: Ask) -> bool:
    answer = await ask("GET", "/v1/models", None)
    _expect(answer, "/v1/models")
    found = {str(model.get("id")): model.get("max_model_len") for model in answer.json().get("data", ())}
    if missing := [name for name in wanted.names if name not in found]:
        raise WrongAnswer(f"the server offers {', '.join(found) or 'no model'}, and not {', '.join(missing)}")
    length = found[wanted.names[0]] if wanted.names else None
    if wanted.max_model_len and length and length != wanted.max_model_len:
        raise WrongAnswer(f"the server's length is {length}, and not {wanted.max_model_len}")
    return True


async def _thinking(wanted: Verify, ask: Ask) -> bool:
    if wanted.thinking not in ("hybrid", "thinking") or not wanted.reasoning_parser:
        raise _NotChecked
    for said in await _both_ways(wanted, ask, _chat(wanted, QUESTION, thinks=True), "thinking"):
        if _MARKUP.search(said.content):
            raise WrongAnswer(
                f"reasoning parser {wanted.reasoning_parser} or the chat template: thinking was asked for, and its"
                f" markup is in the content: {_quoted(said.content)}"
            )
    return True


async def _plain(wanted: Verify, ask: Ask) -> bool:
    if wanted.thinking == "thinking" or (wanted.thinking == "unknown" and wanted.reasoning_parser):
        raise _NotChecked
    thinks = False if wanted.thinking == "hybrid" else None
    for said in await _both_ways(wanted, ask, _chat(wanted, QUESTION, thinks=thinks), "not thinking"):
        if said.reasoning.strip() and not said.content.strip():
            raise WrongAnswer(
                f"reasoning parser {wanted.reasoning_parser or 'none'}: without thinking the whole answer is in the"
                f" reasoning, and the content is empty: {_quoted(said.reasoning)}"
            )
        if wanted.reasoning_parser and _MARKUP.search(said.content):
            raise WrongAnswer(
                f"the chat template or the reasoning parser {wanted.reasoning_parser}: without thinking its markup is"
                f" in the content: {_quoted(said.content)}"
            )
        if not said.content.strip():
            raise WrongAnswer("the model or its chat template: a question without thinking is answered by nothing")
        if wanted.well_known and ANSWER.lower() not in said.content.lower():
            raise WrongAnswer(
                f"the model, its tokenizer or its chat template: {QUESTION} is answered by {_quoted(said.content)}"
            )
    return True


async def _tool(wanted: Verify, ask: Ask) -> bool:
    if not wanted.tool_call_parser or wanted.thinking == "thinking":
        raise _NotChecked
    body = _chat(wanted, TOOL_QUESTION, thinks=False if wanted.thinking == "hybrid" else None)
    called = False
    for said in await _both_ways(wanted, ask, {**body, "tools": [TOOL], "max_tokens": 2 * TOKENS}, "a tool call"):
        if not said.tools and _CALL_MARKUP.search(said.content):
            raise WrongAnswer(
                f"tool-call parser {wanted.tool_call_parser}: a call is left in the content: {_quoted(said.content)}"
            )
        for call in said.tools:
            if said.finish != "length" and not _is_object(call["arguments"]):
                raise WrongAnswer(
                    f"tool-call parser {wanted.tool_call_parser}: the arguments of {_quoted(call['name'])} are no JSON"
                    f" object: {_quoted(call['arguments'])}"
                )
        called = bool(said.tools)
    return called


async def _golden(wanted: Verify, ask: Ask) -> bool:
    for prompt in wanted.prompts:
        body = _chat(wanted, str(prompt["prompt"]), thinks=prompt.get("thinking"))
        limit = min(GOLDEN_TOKENS, (wanted.max_model_len or 4096) // 2)
        said = said_in(await _answer(ask, {**body, "max_tokens": limit}, "a prompt of spec.verify"), stream=False)
        for part in prompt.get("contains", ()):
            if str(part) not in said.content:
                raise WrongAnswer(
                    f"spec.verify.prompts: {_quoted(str(prompt['prompt']))} is answered by {_quoted(said.content)},"
                    f" without {_quoted(str(part))}"
                )
    return True


_CHAT = [("thinking", _thinking), ("answer", _plain), ("tool call", _tool), ("prompts", _golden)]


async def _both_ways(wanted: Verify, ask: Ask, body: Mapping[str, Any], what: str) -> list[Said]:
    """The same chat, whole and as a stream: they must fill the same fields."""
    whole = said_in(await _answer(ask, body, what), stream=False)
    stream = said_in(await _answer(ask, {**body, "stream": True}, what), stream=True)
    if whole.shape != stream.shape and "length" not in (whole.finish, stream.finish):
        names = ("content", "reasoning", "tool calls")
        lists = [", ".join(n for n, there in zip(names, s.shape, strict=True) if there) for s in (whole, stream)]
        raise WrongAnswer(
            f"parsers {wanted.reasoning_parser or 'none'} and {wanted.tool_call_parser or 'none'}: {what}: the whole"
            f" answer has {lists[0] or 'nothing'}, the stream has {lists[1] or 'nothing'}"
        )
    return [whole, stream]


def _chat(wanted: Verify, question: str, *, thinks: bool | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": wanted.names[0] if wanted.names else "",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": TOKENS,
        "temperature": 0,
    }
    return body if thinks is None else {**body, "chat_template_kwargs": {"enable_thinking": thinks}}


async def _answer(ask: Ask, body: Mapping[str, Any], what: str) -> Answer:
    answer = await ask("POST", "/v1/chat/completions", body)
    _expect(answer, what)
    return answer


def _expect(answer: Answer, what: str) -> None:
    """Raises WrongAnswer where it is an error, _NotChecked where we may not ask."""
    if answer.status in (401, 403, 404, 405):
        raise _NotChecked  # keys of the user's own, or a path that this server does not have
    if answer.status != 200:
        raise WrongAnswer(f"the chat template or the model: {what} is answered by {answer.words()}")


async def _embeddings(wanted: Verify, ask: Ask) -> bool:
    texts = ["The capital of France is Paris.", "Paris is the capital city of France.", "Bread is baked in an oven."]
    answer = await ask("POST", "/v1/embeddings", {"model": wanted.names[0], "input": texts})
    _expect(answer, "an embedding")
    vectors = [item["embedding"] for item in answer.json()["data"]]
    if len(vectors) != len(texts) or len({len(v) for v in vectors}) != 1:
        raise WrongAnswer(f"{len(texts)} texts have {len(vectors)} embeddings, of unlike lengths")
    if any(not all(map(math.isfinite, v)) or not any(v) for v in vectors):
        raise WrongAnswer("the model: an embedding is no number, or zero throughout")
    if wanted.well_known and _cosine(vectors[0], vectors[1]) <= _cosine(vectors[0], vectors[2]):
        raise WrongAnswer("the model or its tokenizer: two sentences of one meaning are further apart than two unlike")
    return True


async def _ranking(wanted: Verify, ask: Ask) -> bool:
    documents = ["Paris is the capital of France.", "Bread is baked in an oven."]
    answer = await ask("POST", "/rerank", {"model": wanted.names[0], "query": QUESTION, "documents": documents})
    _expect(answer, "a ranking")
    scores = {item["index"]: float(item["relevance_score"]) for item in answer.json()["results"]}
    if set(scores) != {0, 1} or not all(map(math.isfinite, scores.values())):
        raise WrongAnswer(f"two documents have the scores {sorted(scores.items())}")
    if wanted.well_known and scores[0] <= scores[1]:
        raise WrongAnswer(f"the model or its template: of two documents the unlike one is ranked first: {scores}")
    return True


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _quoted(text: str) -> str:
    return json.dumps(text[:160], ensure_ascii=False)

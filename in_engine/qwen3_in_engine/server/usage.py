"""How many tokens one request had, to the token as vLLM counts them.

vLLM hands the usage of an answer to its middleware (`request.state.request_metadata`), whether the client asked for it
or not, so no request is rewritten and no stream is read. Where it does not, as for embeddings and /responses, the
answer itself has it. Of an answer whose client went away, the engine is asked how far it came.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from qwen3_in_engine.server.asgi import Message, Receive, Scope, Send, engine_of

MOST_BYTES = 8 << 20
"""Of a whole answer that is read for its usage, where it does not stand at the end."""
TAIL_BYTES = 1024
"""The usage at the end of an answer is shorter."""
_MARK = b'"usage"'
_JSON, _EVENTS = b"application/json", b"text/event-stream"


class Tokens(NamedTuple):
    """Of one request, or of several together."""

    prompt: int
    completion: int


class Usage:
    """One request: `receive` and `send` are its application's, and note what says how many tokens it took."""

    __slots__ = ("_aborted", "_answer", "_kind", "_metadata", "_receive", "_scope", "_send", "_size", "complete",
                 "gone", "status")  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})  # one for all that read this request
        self._scope, self._receive, self._send = scope, receive, send
        self._kind, self._metadata, self._answer, self._size = b"", b"", list[bytes](), 0
        self._aborted: Tokens | None = None
        self.status = 0
        """Of the answer; 0 until it begins."""
        self.complete = False
        """Whether the whole answer was given."""
        self.gone = False
        """Whether the client went away before that."""

    async def receive(self) -> Message:
        """The next part of the request's body, or the word that its client is gone: the engine goes on until the
        application has heard it."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_gone()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """The next part of the answer. No coroutine of its own: there is one for each token."""
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            if self._kind == _JSON or _MARK in body:
                self._keep(body)
            if not message.get("more_body", False):
                self.complete = True
        elif message["type"] == "http.response.start":
            self._begin(message)
        return self._send(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        headers = {name.lower(): value for name, value in message.get("headers", ())}
        self._kind = headers.get(b"content-type", b"").split(b";")[0].strip() if self.status == 200 else b""
        self._metadata = headers.get(b"metadata", b"")

    def tokens(self) -> Tokens | None:
        """What was used; None where nobody says."""
        with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return self._of_vllm() or self._aborted or self._of_answer()
        return None

    def _is_gone(self) -> None:
        if not self.complete and not self.gone:
            self.gone = True
            with suppress(Exception):  # another vLLM's engine: then nobody says
                self._aborted = _so_far(self._scope)

    def _keep(self, body: bytes) -> None:
        """Keep what may hold the usage, and no more than is bounded."""
        if self._kind == _EVENTS and len(body) <= MOST_BYTES:
            self._answer = [body]
        elif self._kind == _JSON and body:
            self._size += len(body)
            self._answer.append(body)
            if self._size > MOST_BYTES and len(self._answer) > 1:
                self._answer = [b"".join(self._answer)[-TAIL_BYTES:]]

    def _of_vllm(self) -> Tokens | None:
        usage = getattr(self._scope["state"].get("request_metadata"), "final_usage_info", None)
        if usage is None:
            return None
        return Tokens(int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0))

    def _of_answer(self) -> Tokens | None:
        if self._metadata:  # embeddings as bytes
            return _tokens_in(json.loads(self._metadata))
        body = b"".join(self._answer)
        if self._kind == _EVENTS:
            return next((found for part in _events(body) if (found := _tokens_in(part))), None)
        if found := _at_the_end(body):
            return found
        return _tokens_in(json.loads(body)) if self._size <= MOST_BYTES and _may_have_usage(body) else None


def _may_have_usage(body: bytes) -> bool:
    return _MARK in body or b'"billed_units"' in body


def _at_the_end(body: bytes) -> Tokens | None:
    """Of the last member of a JSON object, which may be long before it. What closes right before the end of all is the
    answer's own: nothing that a client wrote into its request and got back can stand there."""
    tail = body[-TAIL_BYTES:].rstrip()
    _, mark, usage = tail.rpartition(_MARK)
    if not mark or not tail.endswith(b"}}"):
        return None
    try:
        found = json.loads(usage.lstrip(b" :")[:-1])
    except ValueError:
        return None
    return _tokens_in({"usage": found})


def _events(body: bytes) -> Iterator[Any]:
    """The data of the events in a part of a stream, the last first."""
    for line in reversed(body.split(b"\n")):
        if line.startswith(b"data:") and _MARK in line:
            yield json.loads(line[5:])


def _tokens_in(answer: Mapping[str, Any]) -> Tokens | None:
    """By the names of OpenAI's answers, of its responses, and of Cohere's."""
    usage = answer.get("usage") or (answer.get("response") or {}).get("usage")
    usage = usage or (answer.get("meta") or {}).get("billed_units")
    if not isinstance(usage, Mapping):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    if prompt is None:  # rankings of earlier releases have the sum alone
        prompt = int(usage.get("total_tokens") or 0) - int(completion or 0)
    return Tokens(int(prompt) + int(usage.get("image_tokens") or 0), int(completion or 0))


def _so_far(scope: Scope) -> Tokens | None:
    """What the engine has read and made for a request, while it still has it."""
    name = getattr(scope["state"].get("request_metadata"), "request_id", "")
    states = engine_of(scope).output_processor.request_states.values()
    parts = [s for s in states if name and s.external_req_id.startswith(name)]
    parts = [s for s in parts if s.external_req_id[len(name) : len(name) + 1] in ("", "-", "_")]
    if not parts:
        return None
    # Several answers to one prompt have read it once.
    prompts = {state.external_req_id: int(state.prompt_len) for state in parts}
    made = [s.stats.num_generation_tokens if s.stats else s.detokenizer.num_output_tokens() for s in parts]
    return Tokens(sum(prompts.values()), sum(map(int, made)))

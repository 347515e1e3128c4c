"""The tokens of a request, however vLLM reports them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_in_engine.server.usage import MOST_BYTES, Tokens, Usage

JSON, EVENTS = b"application/json", b"text/event-stream"


def asked(
    *parts: bytes | str,
    kind: bytes = JSON,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    metadata: Any = None,
) -> Tokens | None:
    """What is known after an answer in these parts. `metadata`: what vLLM leaves on the request's state."""

    async def nothing(message: Any = None) -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def run() -> Tokens | None:
        scope: dict[str, Any] = {"type": "http", "state": {}}
        usage = Usage(scope, nothing, nothing)
        scope["state"]["request_metadata"] = metadata
        await usage.receive()
        start = {"type": "http.response.start", "status": status, "headers": [(b"Content-Type", kind), *headers]}
        await usage.send(start)
        for at, part in enumerate(parts, 1):
            body = part.encode() if isinstance(part, str) else part
            await usage.send({"type": "http.response.body", "body": body, "more_body": at < len(parts)})
        assert usage.complete and not usage.gone
        return usage.tokens()

    return asyncio.run(run())


def vllm(prompt: int, completion: int | None) -> Any:
    return SimpleNamespace(final_usage_info=SimpleNamespace(prompt_tokens=prompt, completion_tokens=completion))


def test_what_vllm_reports_to_its_middleware_is_taken_and_the_stream_is_not_read() -> None:
    stream = [f'data: {{"choices":[{{"delta":{{"content":"{i}"}}}}]}}\n\n' for i in range(3)]
    assert asked(*stream, "data: [DONE]\n\n", kind=EVENTS, metadata=vllm(7, 3)) == (7, 3)
    assert asked('{"usage":{"prompt_tokens":1}}', metadata=vllm(7, None)) == (7, 0)


ANSWERS = {
    "embeddings": ({"data": [{"embedding": [0.1] * 4}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}, (9, 0)),
    "ranking": ({"usage": {"prompt_tokens": 9, "total_tokens": 9}, "results": [{"index": 0}]}, (9, 0)),
    "ranking of earlier": ({"usage": {"total_tokens": 9}, "results": []}, (9, 0)),
    "responses": ({"usage": {"input_tokens": 4, "output_tokens": 5, "details": {"cached": 1}}}, (4, 5)),
    "cohere": ({"embeddings": {}, "meta": {"billed_units": {"input_tokens": 4, "image_tokens": 2}}}, (6, 0)),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_the_answer_reports(what: str) -> None:
    answer, tokens = ANSWERS[what]
    for text in (json.dumps(answer), json.dumps(answer, separators=(",", ":")), json.dumps(answer, indent=1)):
        assert asked(text) == tokens
        half = len(text) // 2
        assert asked(text[:half], text[half:]) == tokens


def test_a_long_answer_reports_at_its_end_and_is_not_kept() -> None:
    numbers = ("0.123456789," * 100_000).encode()
    parts = [b'{"data":[', *[numbers] * (2 * MOST_BYTES // len(numbers)), b'0],"usage":{"prompt_tokens":9,', b'"x":1}}']
    assert asked(*parts) == (9, 0)
    parts[-1] = b'"x":1},"more":1}'
    assert asked(*parts) is None


def test_the_last_event_of_responses_reports() -> None:
    done = {"type": "response.completed", "response": {"usage": {"input_tokens": 4, "output_tokens": 5}}}
    parts = ["event: response.created\ndata: {}\n\n", f"event: response.completed\ndata: {json.dumps(done)}\n\n"]
    assert asked(*parts, kind=EVENTS) == (4, 5)


EVASIONS = {
    "a tool's schema": {"tools": [{"usage": {"prompt_tokens": 0}}], "usage": {"prompt_tokens": 9}, "z": 1},
    "a tool's schema at the end": {"usage": {"prompt_tokens": 9}, "tools": [{"usage": {"prompt_tokens": 0}}]},
    "an object at the end": {"usage": {"prompt_tokens": 9}, "metadata": {"usage": {"prompt_tokens": 0}}},
    "a text": {"usage": {"prompt_tokens": 9}, "text": '"usage":{"prompt_tokens":0}}'},
    "a text at the end": {"usage": {"prompt_tokens": 9}, "metadata": {"usage": '{"prompt_tokens":0}'}},
}


@pytest.mark.parametrize("what", EVASIONS)
def test_a_client_cannot_report_tokens_of_its_own(what: str) -> None:
    assert asked(json.dumps(EVASIONS[what], separators=(",", ":"))) == (9, 0)


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"usage":null}', '{"usage":{"prompt_tokens":"x"}}', "[" * 9999]
)
def test_what_reports_nothing_is_nothing(body: str) -> None:
    assert asked(body) is None
    assert asked(f"data: {body}\n\n", kind=EVENTS) is None


def test_a_refusal_of_vllm_uses_nothing() -> None:
    assert asked('{"error":{},"usage":{"prompt_tokens":9}}', status=400) is None


def test_embeddings_as_bytes_report_in_a_header() -> None:
    reported = json.dumps({"usage": {"prompt_tokens": 9, "total_tokens": 9}}).encode()
    assert asked(b"\0" * 64, kind=b"application/octet-stream", headers=((b"metadata", reported),)) == (9, 0)


class Engine:
    """vLLM's client of its engine, with requests that it still has."""

    def __init__(self, **made: tuple[str, int, int]) -> None:
        self.output_processor = self
        self.request_states = {
            name: SimpleNamespace(
                external_req_id=external, prompt_len=prompt, stats=SimpleNamespace(num_generation_tokens=tokens)
            )
            for name, (external, prompt, tokens) in made.items()
        }


def gone(engine: Any, request_id: str) -> Usage:
    """A request whose client goes away in the midst of its stream."""

    async def nothing(message: Any = None) -> Any:
        return {"type": "http.disconnect"}

    async def run() -> Usage:
        app = SimpleNamespace(state=SimpleNamespace(engine_client=engine))
        usage = Usage({"app": app, "state": {}}, nothing, nothing)
        usage._scope["state"]["request_metadata"] = SimpleNamespace(request_id=request_id, final_usage_info=None)
        await usage.send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", EVENTS)]})
        await usage.send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        await usage.receive()
        return usage

    return asyncio.run(run())


def test_of_an_answer_that_nobody_waits_for_the_engine_reports_how_far_it_came() -> None:
    engine = Engine(x=("chat-1", 7, 3), other=("chat-11", 100, 100))
    usage = gone(engine, "chat-1")
    engine.request_states.clear()  # the application has heard of it
    assert usage.gone and usage.tokens() == (7, 3)


def test_several_answers_to_one_prompt_have_read_it_once() -> None:
    assert gone(Engine(a=("c", 7, 3), b=("c", 7, 2)), "c").tokens() == (7, 5)
    assert gone(Engine(a=("c-0", 7, 3), b=("c-1", 5, 2)), "c").tokens() == (12, 5)


@pytest.mark.parametrize("engine", [None, object(), Engine(), Engine(x=("c", None, 1))])  # type: ignore[arg-type]
def test_an_engine_that_reports_nothing(engine: Any) -> None:
    usage = gone(engine, "c")
    assert usage.gone and usage.tokens() is None

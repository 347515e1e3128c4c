"""The middleware that repeats `reasoning` under its old name."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_in_engine.server.asgi import Message
from qwen3_in_engine.server.reasoning_content import ReasoningContentMiddleware, with_old_field

CHAT = "/v1/chat/completions"


def serve(
    chunks: list[bytes],
    content_type: str,
    path: str = CHAT,
    status: int = 200,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The headers and body chunks that a client gets when the application sends ``chunks``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = (b"content-length", str(sum(map(len, chunks))).encode())
        headers = [(b"content-type", content_type.encode()), *extra, *([length] if "json" in content_type else [])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sent: list[Message] = []

    async def run() -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            sent.append(message)

        await ReasoningContentMiddleware(app)({"type": "http", "path": path}, receive, send)

    asyncio.run(run())
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
    return dict(start["headers"]), [body["body"] for body in bodies]


def answer(**message: Any) -> bytes:
    return json.dumps({"id": "chat-1", "choices": [{"index": 0, "message": {"role": "assistant", **message}}]}).encode()


def delta(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": fields}]}).encode() + b"\n\n"


def test_answer_has_both_fields_and_the_right_length() -> None:
    body = answer(content="120", reasoning="5×4×3×2×1=120")
    headers, chunks = serve([body[:20], body[20:]], "application/json")
    message = json.loads(b"".join(chunks))["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "120",
        "reasoning": "5×4×3×2×1=120",
        "reasoning_content": "5×4×3×2×1=120",
    }
    assert int(headers[b"content-length"]) == len(b"".join(chunks))


def test_null_reasoning_is_null_in_both() -> None:
    _, chunks = serve([answer(content="hi", reasoning=None)], "application/json")
    assert json.loads(b"".join(chunks))["choices"][0]["message"]["reasoning_content"] is None


def test_stream_has_both_fields_and_keeps_its_events() -> None:
    events = [delta(role="assistant"), delta(reasoning="5×4"), delta(content="120"), b"data: [DONE]\n\n"]
    _, chunks = serve(events, "text/event-stream; charset=utf-8")
    assert [chunk for chunk in chunks if chunk] == [
        events[0],
        delta(reasoning="5×4", reasoning_content="5×4").replace(b', "reasoning_content": ', b',"reasoning_content":'),
        events[2],
        events[3],
    ]


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_stream_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    whole = (
        b": ping\n\n"
        + delta(reasoning="5×4")
        + delta(reasoning='"reasoning"')
        + delta(content="x")
        + b"data: [DONE]\n\n"
    )
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    _, uncut = serve([whole], "text/event-stream")
    _, cut = serve(pieces, "text/event-stream")
    assert b"".join(cut) == b"".join(uncut)
    assert b"".join(uncut).count(b'"reasoning_content"') == 2


def test_stream_that_ends_without_a_newline_is_complete() -> None:
    _, chunks = serve([b"data: [DONE]"], "text/event-stream")
    assert b"".join(chunks) == b"data: [DONE]"


@pytest.mark.parametrize(
    ("body", "content_type", "path", "status"),
    [
        pytest.param(answer(reasoning="x"), "application/json", "/v1/completions", 200, id="other route"),
        pytest.param(b'{"error":{"message":"\\"reasoning\\""}}', "application/json", CHAT, 400, id="error"),
        pytest.param(answer(content="plain"), "application/json", CHAT, 200, id="no reasoning"),
        pytest.param(b'not JSON, but "reasoning"', "application/json", CHAT, 200, id="not JSON"),
        pytest.param(answer(reasoning="x")[:-20], "application/json", CHAT, 500, id="failed"),
        pytest.param(answer(reasoning="x", reasoning_content="y"), "application/json", CHAT, 200, id="has both"),
        pytest.param(delta(content="plain"), "text/event-stream", CHAT, 200, id="stream without reasoning"),
    ],
)
def test_other_answers_are_untouched(body: bytes, content_type: str, path: str, status: int) -> None:
    _, chunks = serve([body], content_type, path, status)
    assert b"".join(chunks) == body


def test_compressed_answers_are_untouched() -> None:
    body = answer(reasoning="x")
    _, chunks = serve([body], "application/json", extra=((b"content-encoding", b"gzip"),))
    assert b"".join(chunks) == body


def test_websockets_and_lifespan_pass() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    asyncio.run(ReasoningContentMiddleware(app)({"type": "lifespan"}, "receive", "send"))  # type: ignore[arg-type]
    assert seen == [("lifespan", "receive", "send")]


tricky = st.text(max_size=40) | st.sampled_from(
    ['"reasoning":"x"', '{"reasoning":null}', "\\", '\\"', ',"reasoning": "']
)


@given(tricky, st.none() | tricky, st.booleans(), st.booleans())
def test_any_text_is_repeated_as_it_is(content: str, reasoning: str | None, spaced: bool, ascii_only: bool) -> None:
    whole = {"choices": [{"message": {"content": content, "reasoning": reasoning}}, {"message": {"content": content}}]}
    separators = (", ", ": ") if spaced else (",", ":")
    body = json.dumps(whole, separators=separators, ensure_ascii=ascii_only).encode()
    expected = json.loads(body)
    expected["choices"][0]["message"]["reasoning_content"] = reasoning
    assert json.loads(with_old_field(body)) == expected


@given(st.binary(max_size=200))
def test_any_bytes_survive(body: bytes) -> None:
    assert with_old_field(body) == body or b'"reasoning"' in body

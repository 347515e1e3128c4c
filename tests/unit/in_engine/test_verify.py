"""What the verification of a server finds, for each way in which a server may be wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from qwen3_in_engine.verify.answer import Answer
from qwen3_in_engine.verify.checks import TOOL_QUESTION, WrongAnswer, verify
from qwen3_in_engine.verify.wanted import Verify

CHAT = Verify(
    names=("Qwen3-8B",),
    max_model_len=40960,
    thinking="hybrid",
    reasoning_parser="qwen3",
    tool_call_parser="hermes",
    well_known=True,
)
CALL = {"name": "get_weather", "arguments": '{"city": "北京"}'}
Body = Mapping[str, Any]


def thinks(body: Body) -> bool:
    return bool((body.get("chat_template_kwargs") or {}).get("enable_thinking", True))


Change = Callable[[Body], dict[str, Any]]


class Server:
    """A server that answers as Qwen3 does, but for what a test changes."""

    def __init__(self, **changes: Change) -> None:
        self.changes = changes
        self.models = [{"id": "Qwen3-8B", "max_model_len": 40960}]
        self.status, self.text = 200, ""
        self.asked: list[Body] = []

    def message(self, body: Body) -> dict[str, Any]:
        made: Change
        if "tools" in body:
            made = self.changes.get("tool", lambda _: {"tool_calls": [{"function": CALL}]})
        elif thinks(body):
            made = self.changes.get("thinking", lambda _: {"reasoning": "France, so", "content": "It is Paris."})
        else:
            made = self.changes.get("plain", lambda _: {"content": "It is **Paris**."})
        return {"role": "assistant", "content": None, **made(body)}

    async def __call__(self, method: str, path: str, body: Body | None) -> Answer:
        if path == "/v1/models":
            return Answer(200, json.dumps({"data": self.models}).encode())
        assert body is not None
        self.asked.append(body)
        if self.status != 200:
            return Answer(self.status, self.text.encode())
        message = self.message(body)
        if not body.get("stream"):
            choice = {"message": message, "finish_reason": "stop"}
            return Answer(200, json.dumps({"choices": [choice]}).encode())
        delta = self.changes["stream"](body) if "stream" in self.changes else message
        events = [{"choices": [{"delta": delta}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        return Answer(200, b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in events) + b"data: [DONE]\n\n")


async def wrong(server: Server, wanted: Verify = CHAT) -> str:
    """What the verification says."""
    with pytest.raises(WrongAnswer) as caught:
        await verify(wanted, server)
    return str(caught.value)


async def test_a_right_server() -> None:
    report = await verify(CHAT, Server())
    assert report.seen == ["models", "thinking", "answer", "tool call", "prompts"]
    assert report.open == []


async def test_another_name() -> None:
    server = Server()
    server.models = [{"id": "default", "max_model_len": 40960}]
    assert await wrong(server) == "the server offers default, and not Qwen3-8B"


async def test_another_length() -> None:
    server = Server()
    server.models = [{"id": "Qwen3-8B", "max_model_len": 2048}]
    assert await wrong(server) == "the server's length is 2048, and not 40960"


async def test_a_parser_that_takes_every_answer_for_reasoning() -> None:
    """deepseek_r1 on a hybrid Qwen3 that does not think."""
    words = await wrong(Server(plain=lambda _: {"reasoning": "It is Paris."}))
    assert "reasoning parser qwen3: without thinking the whole answer is in the reasoning" in words
    assert '"It is Paris."' in words


async def test_a_parser_that_splits_nothing() -> None:
    words = await wrong(Server(thinking=lambda _: {"content": "<think>France</think>Paris"}))
    assert "its markup is in the content" in words


async def test_a_call_that_is_not_parsed() -> None:
    words = await wrong(Server(tool=lambda _: {"content": '<tool_call>{"name": "get_weather"}</tool_call>'}))
    assert words.startswith("tool-call parser hermes: a call is left in the content")


async def test_arguments_that_are_no_json() -> None:
    call = {"function": {"name": "get_weather", "arguments": "{city"}}
    assert "are no JSON object" in await wrong(Server(tool=lambda _: {"tool_calls": [call]}))


async def test_a_model_that_does_not_call_is_not_wrong_for_it() -> None:
    report = await verify(CHAT, Server(tool=lambda _: {"content": "I cannot know."}))
    assert report.open == ["tool call"]


async def test_another_tokenizer() -> None:
    words = await wrong(Server(plain=lambda _: {"content": "ÃÃ qui 12 ]]"}))
    assert words.startswith("the model, its tokenizer or its chat template: What is the capital of France?")


async def test_a_fine_tune_may_know_no_capitals() -> None:
    tuned = Verify(**{**CHAT.__dict__, "well_known": False})
    assert (await verify(tuned, Server(plain=lambda _: {"content": "SAFE"}))).open == []


async def test_a_stream_that_is_parsed_otherwise() -> None:
    words = await wrong(
        Server(stream=lambda body: {"content": "It is Paris."} if thinks(body) else {"content": "Paris"})
    )
    assert "the whole answer has content, reasoning, the stream has content" in words


async def test_a_broken_chat_template() -> None:
    server = Server()
    server.status, server.text = 400, '{"error": {"message": "Jinja: \'foo\' is undefined"}}'
    words = await wrong(server)
    assert words.startswith("the chat template or the model: thinking is answered by HTTP 400")
    assert "'foo' is undefined" in words


async def test_keys_of_the_users_own_are_no_fault() -> None:
    server = Server()
    server.status = 401
    report = await verify(CHAT, server)
    assert report.open == ["thinking", "answer", "tool call"]


async def test_a_thinking_model_is_not_asked_for_an_answer_without() -> None:
    server = Server()
    report = await verify(Verify(**{**CHAT.__dict__, "thinking": "thinking"}), server)
    assert report.open == ["answer", "tool call"]
    assert all(thinks(body) for body in server.asked)


async def test_an_instruct_model_gets_no_kwargs() -> None:
    server = Server(thinking=lambda _: {"content": "It is Paris."})
    instruct = Verify(**{**CHAT.__dict__, "thinking": "none", "reasoning_parser": ""})
    assert (await verify(instruct, server)).open == ["thinking"]
    assert not any("chat_template_kwargs" in body for body in server.asked)


async def test_golden_prompts() -> None:
    prompts = ({"prompt": "2+2?", "contains": ["4"], "thinking": False},)
    wanted = Verify(**{**CHAT.__dict__, "prompts": prompts})
    words = await wrong(Server(plain=lambda body: {"content": "Paris"}), wanted)
    assert words == 'spec.verify.prompts: "2+2?" is answered by "Paris", without "4"'
    assert (await verify(wanted, Server(plain=lambda body: {"content": "Paris, 4"}))).seen[-1] == "prompts"


async def test_an_answer_that_is_none_is_logged_and_not_held_against_the_server() -> None:
    """What our own code cannot read keeps no server from its users: the middleware logs it and goes on."""

    async def strange(method: str, path: str, body: Body | None) -> Answer:
        return Answer(200, b'{"data": [{"id": "Qwen3-8B"}]}' if path == "/v1/models" else b"{}")

    with pytest.raises(ValueError, match=re.escape("no answer of a chat: HTTP 200 {}")):
        await verify(CHAT, strange)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ""),
        ([[0.0, 0.0], [0.9, 0.1], [0.0, 1.0]], "zero throughout"),
        ([[float("nan"), 0.0], [0.9, 0.1], [0.0, 1.0]], "no number"),
        ([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]], "further apart"),
        ([[1.0, 0.0], [0.9, 0.1]], "3 texts have 2 embeddings"),
    ],
)
async def test_embeddings(vectors: list[list[float]], words: str) -> None:
    async def embedder(method: str, path: str, body: Body | None) -> Answer:
        data = [{"id": "e"}] if path == "/v1/models" else [{"embedding": vector} for vector in vectors]
        return Answer(200, json.dumps({"data": data}).encode())

    wanted = Verify(task="embed", names=("e",), well_known=True)
    if words:
        with pytest.raises(WrongAnswer, match=words):
            await verify(wanted, embedder)
    else:
        assert (await verify(wanted, embedder)).seen == ["models", "embeddings"]


@pytest.mark.parametrize(("scores", "fault"), [((0.9, 0.1), False), ((0.1, 0.9), True)])
async def test_ranking(scores: tuple[float, float], fault: bool) -> None:
    async def ranker(method: str, path: str, body: Body | None) -> Answer:
        results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
        return Answer(200, json.dumps({"data": [{"id": "r"}], "results": results}).encode())

    wanted = Verify(task="rerank", names=("r",), well_known=True)
    if fault:
        with pytest.raises(WrongAnswer, match="the unlike one is ranked first"):
            await verify(wanted, ranker)
    else:
        assert (await verify(wanted, ranker)).seen == ["models", "ranking"]


async def test_the_question_of_a_tool_is_one_that_needs_it() -> None:
    server = Server()
    await verify(CHAT, server)
    (whole, stream) = [body for body in server.asked if "tools" in body]
    assert whole["messages"] == stream["messages"] == [{"role": "user", "content": TOOL_QUESTION}]

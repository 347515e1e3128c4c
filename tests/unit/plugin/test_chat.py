"""A conversation with a server of the OpenAI API, which stands in for vLLM: tests/e2e talks to a real one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rich.console import Console
from tests.unit.plugin import recorded
from tests.unit.plugin.api_server import ApiServer

from qwen3_operator.plugin.api import Api
from qwen3_operator.plugin.chat import Answer, Talk, converse, endpoint, show_answer
from qwen3_operator.plugin.failure import Failure
from qwen3_operator.plugin.forward import Server
from qwen3_operator.plugin.stream import Piece, error_words, pieces

DELTAS: list[dict[str, Any]] = [
    {"reasoning": "hm"},
    {"reasoning_content": "m"},
    {"content": "\n\n12"},
    {"content": "0"},
]


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


@pytest.fixture
def vllm() -> Iterator[tuple[Server, list[dict[str, Any]]]]:
    """The server, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            allowed = self.headers["Authorization"] == "Bearer right"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            if allowed:
                for delta in DELTAS:
                    self.wfile.write(chunk(choices=[{"delta": delta}]))
                self.wfile.write(chunk(choices=[{"delta": {}, "finish_reason": "stop"}]))
                self.wfile.write(chunk(choices=[], usage={"completion_tokens": 7}) + b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    it = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield Server(it.server_port, "right"), asked
    it.shutdown()
    it.server_close()


def test_reasoning_and_answer_are_told_apart(vllm: tuple[Server, list[dict[str, Any]]]) -> None:
    server, asked = vllm
    answer = Answer()
    talk = Talk("m", thinking=False, system="be short", max_tokens=9, said=[{"role": "user", "content": "5!"}])
    show_answer(server, talk, answer, None, reasoning=True)
    assert answer == Answer("hmm", "120", 7, "stop")
    assert asked[0]["messages"][0] == {"role": "system", "content": "be short"}
    assert asked[0]["chat_template_kwargs"] == {"enable_thinking": False} and asked[0]["max_tokens"] == 9


def test_a_conversation(vllm: tuple[Server, list[dict[str, Any]]]) -> None:
    """Commands, Ctrl-C at the prompt, and what was said goes along."""
    server, asked = vllm
    typed: Iterator[str | type[BaseException]] = iter(
        ["/think on", "first", KeyboardInterrupt, "second", "/new", "third", EOFError]
    )

    def ask(_: str) -> str:
        word = next(typed)
        if isinstance(word, str):
            return word
        raise word

    out = Console(record=True, width=80)
    converse(server, Talk("m"), out, ask, lambda: server)
    assert [[m["content"] for m in body["messages"]] for body in asked] == [
        ["first"],
        ["first", "120", "second"],
        ["third"],
    ]
    assert asked[0]["chat_template_kwargs"] == {"enable_thinking": True}
    assert "hmm\n\n120\n" in out.export_text()


def test_ctrl_c_ends_an_answer_and_not_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Server):
        def chat(self, body: dict[str, Any]) -> Any:
            yield Piece("content", "one")
            raise KeyboardInterrupt

    typed = iter(["go", "/quit"])
    talk, out = Talk("m"), Console(record=True, width=80)
    server = Slow(1, "")
    converse(server, talk, out, lambda _: next(typed), lambda: server)
    assert "(stopped)" in out.export_text()
    assert talk.said == [{"role": "user", "content": "go"}, {"role": "assistant", "content": "one"}]


def test_a_wrong_key(vllm: tuple[Server, list[dict[str, Any]]]) -> None:
    server = Server(vllm[0]._port, "wrong")
    with pytest.raises(Failure, match="wants a key"):
        show_answer(server, Talk("m"), Answer(), None, reasoning=True)


def test_words_of_errors() -> None:
    assert error_words(400, b'{"error": {"message": "too long"}}') == "the server answered 400: too long"
    assert error_words(404, b"nothing") == "the server answered 404: nothing"
    assert list(pieces([b'data: {"error": {"message": "x"}}\n'])) == [Piece("error", "x")]
    assert next(pieces([b"data: {\n"])).kind == "error"


@pytest.fixture
def guarded(cluster: ApiServer) -> ApiServer:
    cluster.objects += recorded.deployment("chat", auth={"apiKeySecretRef": {"name": "keys", "key": "chat"}})
    data = {"chat": base64.b64encode(b"right\n").decode()}
    cluster.objects.append({"kind": "Secret", "metadata": recorded.meta("keys"), "data": data})
    return cluster


def test_the_key_is_that_of_the_secret_or_of_the_environment(guarded: ApiServer, api: Api) -> None:
    assert endpoint(api, "team", "chat", {}).key == "right"
    guarded.asked.clear()
    assert endpoint(api, "team", "chat", {"QWEN3_API_KEY": "mine"}).key == "mine"
    assert not [path for path in guarded.asked if "secrets" in path]


def test_who_may_not_read_the_secret_learns_what_to_do(guarded: ApiServer, api: Api) -> None:
    guarded.allows = lambda verb, resource, namespace: resource != "secrets"
    with pytest.raises(Failure, match="put the key into QWEN3_API_KEY"):
        endpoint(api, "team", "chat", {})


def test_a_server_that_is_not_ready(cluster: ApiServer, api: Api) -> None:
    cluster.objects += recorded.deployment("chat", "loading")
    with pytest.raises(Failure, match="no server that is ready: Starting"):
        endpoint(api, "team", "chat", {})

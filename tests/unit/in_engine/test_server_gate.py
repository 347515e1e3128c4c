"""Who gets in, what is counted, and who is asked to wait: requests to a server with the middleware."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.unit.in_engine.mounts import Clock, Volume

from qwen3_in_engine.server import loader
from qwen3_in_engine.server.accounts import accounts
from qwen3_in_engine.server.contract import EXIT_KEYS_UNUSABLE, KEYS_VARIABLE, LIMITS_VARIABLE, Config
from qwen3_in_engine.server.drain import asked, done
from qwen3_in_engine.server.gate import Gate, gate_of
from qwen3_in_engine.server.keys import Keys
from qwen3_in_engine.server.limits import Limits
from qwen3_in_engine.server.middleware import ServerMiddleware
from qwen3_in_engine.verify.wanted import Verify

CHAT = "/v1/chat/completions"
FREE = ["/health", "/metrics", "/qwen3/livez", "/qwen3/readyz", "/qwen3/startedz"]
PATHS = [CHAT, "/v1/models", "/invocations", "/tokenize", "/load", "/version", "/docs", "/openapi.json", "/ping", "/"]
PATHS += ["/health/", "/healthz", "/metrics/x", "/qwen3", "//metrics", "/v1/../metrics", "/METRICS", ""]


class Answer:
    def __init__(self, sent: list[Any]) -> None:
        self.status: int = sent[0].get("status", 0)
        self.headers = {name.decode(): value.decode() for name, value in sent[0].get("headers", ())}
        self.body = b"".join(m.get("body", b"") for m in sent[1:])
        self.code = sent[0].get("code")

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]


class Server:
    """One with keys, around an application that reports 5 + 2 tokens and answers when it is let go."""

    def __init__(self, folder: Path, keys: dict[str, str], limits: Any = None, config: Config | None = None) -> None:
        self.clock = Clock()
        self.folder = folder
        for name in ("keys", "limits", "drain"):
            (folder / name).mkdir()
        self.keys = Volume(folder / "keys", keys)
        self.limits = folder / "limits" / "limits.json"
        self.limits.write_text(json.dumps(limits or {}))
        gate = Gate(Keys(folder / "keys", self.clock), Limits(self.limits, self.clock), accounts(), self.clock)
        config = config or Config(folder=str(folder / "drain"), settle_seconds=0.1, drain_seconds=5)
        self.middleware = ServerMiddleware(self._vllm, config, gate)
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.fails = False
        self.seen: list[str] = []
        self.app = SimpleNamespace(state=SimpleNamespace(engine_client=None, server=None))

    async def _vllm(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await receive()
        if self.fails:
            raise RuntimeError("a fault of vLLM")
        await self.let_go.wait()
        usage = SimpleNamespace(prompt_tokens=5, completion_tokens=2)
        scope.setdefault("state", {})["request_metadata"] = SimpleNamespace(request_id="x", final_usage_info=usage)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    async def ask(
        self, key: str = "", path: str = CHAT, method: str = "POST", kind: str = "http", gone: bool = False
    ) -> Answer:
        sent: list[Any] = []
        headers = [(b"authorization", f"Bearer {key}".encode())] if key else []

        async def receive() -> Any:
            if kind == "websocket":
                return {"type": "websocket.connect"}
            return {"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": kind, "method": method, "path": path, "headers": headers, "app": self.app}
        await self.middleware(scope, receive, send)
        return Answer(sent)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"qwen3_team_{name}_total", labels) or 0.0


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """A name that no other test counts for."""
    return f"team-{abs(hash(request.node.nodeid))}"


@pytest.fixture
def server(tmp_path: Path, team: str) -> Server:
    return Server(tmp_path, {team: "sesame"})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
async def test_every_path_asks_for_a_key(server: Server, path: str, method: str) -> None:
    for key in ("", "wrong"):
        answer = await server.ask(key, path, method)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "sesame" not in answer.body.decode()
    assert not server.seen
    assert (await server.ask("sesame", path, method)).status == 200
    assert server.seen == [path]


@pytest.mark.parametrize("path", FREE)
async def test_probes_and_prometheus_have_no_key(server: Server, path: str) -> None:
    assert (await server.ask("", path, "GET")).status != 401


async def test_a_browser_asks_whether_it_may_ask(server: Server) -> None:
    assert (await server.ask("", CHAT, "OPTIONS")).status == 200


async def test_a_websocket_asks_for_a_key_too(server: Server, team: str) -> None:
    assert (await server.ask("", "/v1/realtime", kind="websocket")).code == 1008
    assert not server.seen
    await server.ask("sesame", "/v1/realtime", kind="websocket")
    assert server.seen == ["/v1/realtime"]
    assert counted("requests", team=team, code="websocket") == 1


async def test_requests_and_tokens_are_counted_for_the_team(server: Server, team: str) -> None:
    strangers = counted("requests", team="", code="4xx")
    for key in ("sesame", "sesame", "wrong"):
        await server.ask(key)
    await server.ask("sesame", "/v1/models", "GET")
    assert counted("requests", team=team, code="2xx") == 3
    assert counted("requests", team="", code="4xx") == strangers + 1
    assert (counted("prompt_tokens", team=team), counted("completion_tokens", team=team)) == (10, 4)
    assert counted("uncounted_requests", team=team) == 0


async def test_a_zero_is_shown_before_the_first_request(server: Server, team: str) -> None:
    assert REGISTRY.get_sample_value("qwen3_team_prompt_tokens_total", {"team": team}) == 0
    assert REGISTRY.get_sample_value("qwen3_team_requests_total", {"team": team, "code": "2xx"}) == 0


async def test_faults_and_clients_that_go_are_counted_as_such(server: Server, team: str) -> None:
    await server.ask("sesame", gone=True)
    assert counted("requests", team=team, code="aborted") == 1
    server.fails = True
    with pytest.raises(RuntimeError):
        await server.ask("sesame")
    assert counted("requests", team=team, code="5xx") == 1


async def test_an_answer_that_reports_nothing_is_counted_as_that(server: Server, team: str) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server.middleware._app = silent
    await server.ask("sesame")
    await server.ask("sesame", "/tokenize")
    assert counted("uncounted_requests", team=team) == 1


async def test_the_log_has_the_team_and_neither_key_nor_line_breaks(
    server: Server, team: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await server.ask("sesame")
    await server.ask("sesame", "/x\nqwen3: forged" + "x" * 500 + "/completions")
    said = capfd.readouterr().err
    assert f"qwen3: {team} POST '/v1/chat/completions' 2xx 5 + 2 tokens 0.00 s\n" in said
    assert "sesame" not in said
    assert "\nqwen3: forged" not in said and max(map(len, said.splitlines())) < 250


async def test_a_key_is_changed_while_requests_come(server: Server, team: str) -> None:
    server.keys.write({team: "sesame", f"{team}.2": "barley"})
    server.clock.now += 5
    assert [(await server.ask(key)).status for key in ("sesame", "barley")] == [200, 200]
    server.let_go.clear()
    running = asyncio.create_task(server.ask("sesame"))
    await asyncio.sleep(0)
    server.keys.write({f"{team}.2": "barley"})
    server.clock.now += 5
    assert (await server.ask("sesame")).status == 401
    server.let_go.set()
    assert (await running).status == 200, "who is in stays in"
    assert counted("requests", team=team, code="2xx") == 3


async def test_a_secret_that_was_emptied_lets_nobody_in(server: Server) -> None:
    server.keys.write({})
    server.clock.now += 5
    assert (await server.ask("sesame")).status == 401
    assert (await server.ask("", "/qwen3/livez", "GET")).status == 200


async def test_who_asks_too_often_learns_when_to_ask_again(tmp_path: Path, team: str) -> None:
    server = Server(tmp_path, {team: "sesame"}, {"default": {"requestsPerMinute": 2}})
    assert [(await server.ask("sesame")).status for _ in range(2)] == [200, 200]
    answer = await server.ask("sesame")
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")
    assert (answer.error["type"], answer.error["code"]) == ("requests", "rate_limit_exceeded")
    assert "2 requests a minute on this server" in answer.error["message"]
    assert counted("limited", team=team, limit="requestsPerMinute") == 1
    assert counted("requests", team=team, code="4xx") == 1
    assert (await server.ask("sesame", "/v1/models", "GET")).status == 200, "reading costs nothing"
    server.clock.now += 30
    assert (await server.ask("sesame")).status == 200


async def test_tokens_of_a_minute(tmp_path: Path, team: str) -> None:
    server = Server(tmp_path, {team: "sesame"}, {"default": {"tokensPerMinute": 10}})
    assert [(await server.ask("sesame")).status for _ in range(3)] == [200, 200, 429]
    answer = await server.ask("sesame")
    assert (answer.error["type"], answer.headers["retry-after"]) == ("tokens", "30")


async def test_teams_are_limited_each_for_itself_and_by_changes_at_once(tmp_path: Path, team: str) -> None:
    limits = {"default": {"maxConcurrent": 1}, "teams": {f"{team}-b": {"maxConcurrent": 2}}}
    server = Server(tmp_path, {team: "a", f"{team}-b": "b"}, limits)
    server.let_go.clear()
    running = [asyncio.create_task(server.ask(key)) for key in ("a", "b", "b")]
    await asyncio.sleep(0.01)
    assert [(await server.ask(key)).status for key in ("a", "b")] == [429, 429]
    server.limits.write_text(json.dumps({"default": {"maxConcurrent": 3}}))
    server.clock.now += 5
    running += [asyncio.create_task(server.ask(key)) for key in ("a", "b")]
    await asyncio.sleep(0.01)
    server.let_go.set()
    assert [(await it).status for it in running] == [200] * 5
    assert (await server.ask("a")).status == 200


async def test_what_the_server_asks_itself_needs_no_key(tmp_path: Path, team: str) -> None:
    config = Config(folder=str(tmp_path / "drain"), verify=Verify(names=("x",), thinking="none"))
    server = Server(tmp_path, {team: "sesame"}, config=config)
    assert (await server.ask("", "/qwen3/startedz", "GET")).status == 200
    assert "/v1/models" in server.seen
    assert counted("requests", team=team, code="2xx") == 0


async def test_the_drain_waits_for_a_team_and_sends_it_elsewhere(server: Server) -> None:
    await server.ask("", "/qwen3/startedz", "GET")
    server.let_go.clear()
    running = asyncio.create_task(server.ask("sesame"))
    await asyncio.sleep(0.05)
    folder = server.folder / "drain"
    asked(folder).touch()
    await asyncio.sleep(0.5)
    assert not list(folder.glob(done(folder, "*").name))
    assert (await server.ask("wrong")).status == 401
    server.let_go.set()
    assert (await running).status == 200
    async with asyncio.timeout(5):
        while not list(folder.glob(done(folder, "*").name)):  # noqa: ASYNC110 - written by the drain
            await asyncio.sleep(0.05)
    assert (await server.ask("sesame")).status == 503


class Ended(BaseException):
    """In the place of the process's end."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The termination log."""
    log = tmp_path / "termination-log"
    log.touch()

    def leave(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(loader, "TERMINATION_LOG", str(log))
    monkeypatch.setattr(os, "_exit", leave)
    return log


@pytest.mark.parametrize("broken", ["no keys", "no folder", "the configuration", "the module"])
def test_a_server_that_cannot_ask_for_keys_does_not_start(
    broken: str, ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    if broken != "no folder":
        folder.mkdir()
        Volume(folder, {} if broken == "no keys" else {"a": "sesame"})
    if broken == "the configuration":
        monkeypatch.setenv("QWEN3_SERVER", "{")
    if broken == "the module":
        monkeypatch.setitem(sys.modules, "qwen3_in_engine.server.middleware", None)
    monkeypatch.setenv(KEYS_VARIABLE, str(folder))
    with pytest.raises(Ended) as end:
        loader.Middleware(None)
    assert end.value.args == (EXIT_KEYS_UNUSABLE,)
    words = ended.read_text()
    assert words.startswith("KeysUnusable: ") and "sesame" not in words
    if broken.startswith("no"):
        assert words == "KeysUnusable: the Secret of auth.keys has no key that can be used, so nobody could get in"


def test_a_server_without_keys_starts_without_the_middleware_as_before(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN3_SERVER", "{")
    loader.Middleware(None)
    assert ended.read_text() == ""


def test_the_environment_says_whether_there_is_a_gate(tmp_path: Path) -> None:
    Volume(tmp_path, {"a": "sesame"})
    assert gate_of({}) is None
    assert gate_of({KEYS_VARIABLE: str(tmp_path)}) is not None
    assert gate_of({KEYS_VARIABLE: str(tmp_path), LIMITS_VARIABLE: str(tmp_path / "limits.json")}) is not None

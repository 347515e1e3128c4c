"""The way out: what a server does between the word that it is to stop, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_in_engine.server import pre_stop
from qwen3_in_engine.server.contract import Config
from qwen3_in_engine.server.drain import asked, done, seen
from qwen3_in_engine.server.middleware import ServerMiddleware

SETTLE = 0.3
Response = tuple[int, dict[str, str], bytes]


class Connection:
    """A connection of uvicorn's, idle."""

    cycle = None

    def __init__(self, server: Any) -> None:
        self.server = server

    def shutdown(self) -> None:
        self.server.server_state.connections.discard(self)


class State:
    """A server as vLLM makes it known: `app.state`."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.server_state = self
        self.server = self
        self.engine_client = self
        self.errored = False
        self.state = self


class Pod:
    """A server with the middleware: requests that wait until they are let go."""

    def __init__(self, folder: Path, limit: float = 5.0) -> None:
        self.state = State()
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.folder = folder
        config = Config(settle_seconds=SETTLE, drain_seconds=limit, folder=str(folder))
        self.middleware = ServerMiddleware(self._vllm, config)

    async def _vllm(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"keep-alive")]})
        await send({"type": "http.response.body", "body": b"done"})

    async def get(self, path: str = "/v1/chat/completions", method: str = "POST") -> Response:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.middleware({"type": "http", "method": method, "path": path, "app": self.state}, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture
async def pod(tmp_path: Path) -> Pod:
    made = Pod(tmp_path)
    assert (await made.get("/qwen3/startedz", "GET"))[0] == 200  # the first request begins the watch
    return made


async def until(what: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - another side writes the file
            await asyncio.sleep(0.02)


def is_done(pod: Pod) -> bool:
    return bool(list(pod.folder.glob(done(pod.folder, "*").name)))


async def test_at_work_connections_are_kept(pod: Pod) -> None:
    assert (await pod.get())[1]["connection"] == "keep-alive"


async def test_each_answer_sends_its_client_elsewhere(pod: Pod) -> None:
    asked(pod.folder).touch()
    await until(lambda: bool(list(pod.folder.glob(seen(pod.folder, "*").name))))
    status, headers, body = await pod.get()
    assert (status, headers["connection"], body) == (200, "close", b"done")


async def test_idle_connections_are_closed_and_it_ends(pod: Pod) -> None:
    pod.state.connections.add(Connection(pod.state))
    asked(pod.folder).touch()
    await until(lambda: is_done(pod))
    assert not pod.state.connections


async def test_a_request_in_flight_is_waited_for(pod: Pod) -> None:
    pod.let_go.clear()
    request = asyncio.create_task(pod.get())
    await asyncio.sleep(0.05)
    asked(pod.folder).touch()
    await asyncio.sleep(SETTLE + 0.6)
    assert not is_done(pod)
    pod.let_go.set()
    assert (await request)[0] == 200
    await until(lambda: is_done(pod))


async def test_a_request_that_never_ends_is_waited_for_so_long(tmp_path: Path) -> None:
    pod = Pod(tmp_path, limit=0.5)
    await pod.get("/qwen3/startedz", "GET")
    pod.let_go.clear()
    request = asyncio.create_task(pod.get())
    await asyncio.sleep(0.05)
    asked(pod.folder).touch()
    await until(lambda: is_done(pod))
    request.cancel()


async def test_who_comes_after_that_is_asked_to_come_again(pod: Pod) -> None:
    asked(pod.folder).touch()
    await until(lambda: is_done(pod))
    status, headers, body = await pod.get()
    assert status == 503
    assert headers["retry-after"] == "1"
    assert headers["connection"] == "close"
    assert b"ask again" in body


async def test_a_dead_engine_is_not_waited_for(pod: Pod) -> None:
    pod.let_go.clear()
    request = asyncio.create_task(pod.get())
    await asyncio.sleep(0.05)
    pod.state.errored = True
    asked(pod.folder).touch()
    await until(lambda: is_done(pod), seconds=2)
    request.cancel()


@pytest.fixture
async def port() -> Any:
    """A port on which somebody listens."""

    async def nothing(reader: Any, writer: Any) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def hook(port: int, folder: Path, settle: float = 0.2, most: float = 5.0) -> Awaitable[None]:
    return asyncio.to_thread(pre_stop.main, port, settle, most, folder)


async def test_the_hook_waits_for_the_server(pod: Pod, port: int) -> None:
    pod.let_go.clear()
    request = asyncio.create_task(pod.get())
    await asyncio.sleep(0.05)
    ended = asyncio.ensure_future(hook(port, pod.folder))
    await asyncio.sleep(SETTLE + 0.6)
    assert not ended.done()
    pod.let_go.set()
    await request
    await asyncio.wait_for(ended, 3)


async def test_the_hook_does_not_wait_for_a_server_that_never_listened(tmp_path: Path) -> None:
    await asyncio.wait_for(hook(1, tmp_path, most=60), 3)
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240


async def test_without_the_middleware_the_hook_lets_the_endpoints_settle(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_stop, "SEEN_SECONDS", 0.2)
    await asyncio.wait_for(hook(port, tmp_path), 3)


async def test_the_hook_ends_in_time_whatever_the_server_does(tmp_path: Path, port: int) -> None:
    asked(tmp_path).touch()
    seen(tmp_path, 7).touch()
    await asyncio.wait_for(hook(port, tmp_path, most=0.5), 3)


async def test_what_another_container_left_is_not_for_this_one(pod: Pod) -> None:
    (pod.folder / "qwen3-drain-123").touch()
    await asyncio.sleep(0.5)
    assert (await pod.get())[1]["connection"] == "keep-alive"

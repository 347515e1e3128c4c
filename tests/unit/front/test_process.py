"""The front as a process, against an API server that lists and watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from tests.unit.front.api_server import ApiServer
from tests.unit.front.processes import FrontProcess, front_slice, server_slice
from tests.unit.front.stand import Server

QUESTION: dict[str, Any] = {"model": "m", "messages": []}


async def until(observe: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait until `observe` returns what is wanted."""
    async with asyncio.timeout(60):
        while await observe() != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


class Running(NamedTuple):
    front: FrontProcess
    api: ApiServer
    server: Server
    http: aiohttp.ClientSession

    async def ask(self, path: str = "/v1/chat/completions") -> int:
        async with self.http.post(f"{self.front.url}{path}", json=QUESTION) as response:
            await response.read()
            return response.status

    async def waiting(self) -> int:
        async with self.http.get(f"{self.front.admin}/waiting/team/chat") as response:
            return int((await response.json())["waiting"])

    async def until_waiting(self, count: int) -> None:
        await until(self.waiting, count)

    async def status(self, path: str) -> int:
        try:
            async with self.http.get(f"{self.front.admin}{path}") as response:
                return response.status
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    api, server = ApiServer(tmp_path), Server()
    await api.start()
    await server.start()
    front = FrontProcess(api.kubeconfig, tmp_path / "front.log")
    async with aiohttp.ClientSession() as http:
        it = Running(front, api, server, http)
        try:
            await until(lambda: it.status("/readyz"), 200)
            yield it
        finally:
            front.kill()
            await server.stop()
            await api.stop()


async def test_what_the_watch_brings_decides(running: Running) -> None:
    front, api, server = running.front, running.api, running.server
    early = asyncio.create_task(running.ask())  # it comes before the slice
    api.put(front_slice(front.first_port))
    await running.until_waiting(1)
    api.cut()  # and the watch goes on from where it was
    api.put(server_slice(server.port, "127.0.0.1"))
    assert await early == 200
    api.too_old = True
    api.cut()

    async def it_lists() -> int:
        return min(api.lists, 2)

    await until(it_lists, 2)
    api.remove("chat-x7k2p")
    api.too_old = False
    await until(lambda: running.ask("/health"), 503)  # not held, so it shows whether the server is gone
    before = server.seen["/v1/chat/completions"]
    later = asyncio.create_task(running.ask())
    await running.until_waiting(1)
    api.put(server_slice(server.port, "127.0.0.1"))
    assert await later == 200 and server.seen["/v1/chat/completions"] == before + 1


async def test_who_waits_is_served_before_it_ends(running: Running) -> None:
    front, api, server = running.front, running.api, running.server
    api.put(front_slice(front.first_port))
    waits = asyncio.create_task(running.ask())
    await running.until_waiting(1)
    front.end()
    await until(lambda: running.status("/readyz"), 503)
    late = asyncio.create_task(running.ask())  # a proxy that has not heard of it
    await running.until_waiting(2)
    api.put(server_slice(server.port, "127.0.0.1"))
    assert [await waits, await late] == [200, 200]
    assert await front.ended() == 0


async def test_it_goes_on_while_the_api_server_is_away(running: Running) -> None:
    front, api, server = running.front, running.api, running.server
    api.put(front_slice(front.first_port))
    api.put(server_slice(server.port, "127.0.0.1"))
    assert await running.ask() == 200
    await api.stop()
    assert await running.ask() == 200 and await running.status("/healthz") == 200


async def test_it_has_metrics_of_itself(running: Running) -> None:
    running.api.put(front_slice(running.front.first_port))
    running.api.put(server_slice(running.server.port, "127.0.0.1"))
    assert await running.ask() == 200
    async with running.http.get(f"{running.front.admin}/metrics") as response:
        text = await response.text()
    assert 'qwen3_front_requests_total{name="chat",namespace="team",result="served"} 1.0' in text
    assert "qwen3_operator" not in text
    assert await running.waiting() == 0 and await running.status("/waiting/nobody/knows") == 200


@pytest.mark.parametrize("variable", ["hold_seconds", "colour", "first_port"])
async def test_a_wrong_setting_is_reported_in_words(tmp_path: Path, variable: str) -> None:
    front = FrontProcess(tmp_path / "none", tmp_path / "log", **{variable: -1})
    assert await front.ended() == 2
    text = (tmp_path / "log").read_text()
    assert f"QWEN3_FRONT_{variable.upper()}" in text and "Traceback" not in text

"""Requests of real clients that the front holds, until a server is ready or none comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import openai
import pytest
from tests.load.balancer import Balancer
from tests.unit.front.stand import CHUNKS, NAME, Stand, stand, until

from qwen3_front import doors, exchange, hold
from qwen3_front.contract import Mode
from qwen3_front.metrics import REGISTRY

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Count."}]}
STREAM = QUESTION | {"stream": True}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes none here."""
    monkeypatch.setattr(exchange, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(exchange, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(hold, "STRANGE_SECONDS", 0.05)
    monkeypatch.setattr("qwen3_front.line.REST_SECONDS", 0.02)


@pytest.fixture
async def front() -> AsyncIterator[Stand]:
    async with stand() as it:
        yield it


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as it:
        yield it


def client(front: Stand, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=key, max_retries=0)


async def ask(http: aiohttp.ClientSession, url: str, body: Any = QUESTION) -> tuple[int, bytes]:
    async with http.post(f"{url}{CHAT}", json=body) as response:
        return response.status, await response.read()


def counted(result: str) -> float:
    labels = {"namespace": NAME.namespace, "name": NAME.name, "result": result}
    return REGISTRY.get_sample_value("qwen3_front_requests_total", labels) or 0.0


def has_counted(result: str, times: float) -> bool:
    return counted(result) == times


async def test_a_request_waits_for_its_server(front: Stand) -> None:
    waits = asyncio.create_task(client(front).chat.completions.create(**QUESTION))
    await front.until_waiting(1)
    assert not front.server.seen
    front.ready()
    answer = await waits
    assert answer.choices[0].message.content == "one two three"
    assert front.server.seen == {CHAT: 1} and front.holder.waiting(NAME) == 0


async def test_a_stream_has_signs_of_life_and_then_its_chunks(front: Stand, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{front.url}{CHAT}", json=STREAM) as response:
        assert response.status == 200 and response.content_type == "text/event-stream"
        assert response.headers["Connection"] == "close"
        first = await response.content.readline()
        assert first.startswith(b": waiting for a server for 0 s; Starting; about 40 s left")
        front.ready()
        rest = await response.content.read()
    events = [line for line in rest.splitlines() if line and not line.startswith(b":")]
    assert len(events) == CHUNKS + 1 and events[-1] == b"data: [DONE]"


async def test_the_openai_client_reads_a_stream_that_waited(front: Stand) -> None:
    opened = await client(front).chat.completions.create(**STREAM)
    front.ready()
    texts = [it.choices[0].delta.content async for it in opened]
    assert texts == ["0 ", "1 ", "2 "]


async def test_the_server_asks_for_the_key_after_the_wait(front: Stand) -> None:
    front.server.key = "sesame"
    waits = [asyncio.create_task(client(front, key).chat.completions.create(**QUESTION)) for key in ("sesame", "no")]
    stream = await client(front, "no").chat.completions.create(**STREAM)
    await front.until_waiting(3)
    front.ready()
    assert (await waits[0]).choices
    with pytest.raises(openai.AuthenticationError, match="who are you"):
        await waits[1]
    with pytest.raises(openai.APIError, match="who are you"):  # as an event: the answer had begun
        _ = [it async for it in stream]


async def test_what_comes_in_time_keeps_its_status(front: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "QUIET_SECONDS", 60)
    front.server.status = 429
    waits = asyncio.create_task(client(front).chat.completions.create(**STREAM))
    await front.until_waiting(1)
    front.ready()
    with pytest.raises(openai.RateLimitError) as caught:
        await waits
    assert caught.value.response.headers["Retry-After"] == "7"


async def test_the_request_arrives_as_it_was_sent(front: Stand, http: aiohttp.ClientSession) -> None:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "X-Request-Id": "7",
        "Connection": "x-own",
        "X-Own": "1",
    }
    front.ready()
    body = b'{"model": "m",   "messages": []}'
    url = f"{front.url}/v1/a%2Fb?q=%20x&q=2"
    async with http.post(url, data=body, headers=headers) as response:
        assert response.status == 200 and response.headers["Connection"] == "close"
        assert await response.json()
    assert front.server.seen == {"/v1/a%2Fb?q=%20x&q=2": 1} and front.server.bodies == [body]
    (got,) = front.server.headers
    assert got["X-Request-Id"] == "7" and "X-Own" not in got and got["Host"] == f"127.0.0.1:{front.port}"
    assert got["Content-Type"] == headers["Content-Type"]


async def test_a_full_line_answers_at_once(http: aiohttp.ClientSession) -> None:
    async with stand(max_waiting=2) as front:
        waits = [asyncio.create_task(ask(http, front.url)) for _ in range(2)]
        await front.until_waiting(2)
        async with http.post(f"{front.url}{CHAT}", json=STREAM) as response:
            assert response.status == 429 and int(response.headers["Retry-After"]) >= 5
            assert "full" in (await response.json())["error"]["message"]
        front.ready()
        assert [status for status, _ in await asyncio.gather(*waits)] == [200, 200]


async def test_bodies_are_bounded_one_and_all_together(http: aiohttp.ClientSession) -> None:
    half_and_more = QUESTION | {"user": "x" * 700_000}
    async with stand(max_body_mib=1, max_bytes_mib=1) as front:
        waits = asyncio.create_task(ask(http, front.url, half_and_more))
        await front.until_waiting(1)
        assert (await ask(http, front.url, half_and_more))[0] == 429
        status, said = await ask(http, front.url, QUESTION | {"user": "x" * 1_100_000})
        assert status == 413 and json.loads(said)["error"]["code"] == 413

        async def chunked() -> AsyncIterator[bytes]:
            for _ in range(12):
                yield b"x" * 100_000

        async with http.post(f"{front.url}{CHAT}", data=chunked()) as response:
            assert response.status in (413, 429)
        front.ready()
        assert (await waits)[0] == 200
        assert (await ask(http, front.url, half_and_more))[0] == 200  # what was taken is given back


async def test_the_wait_has_an_end(http: aiohttp.ClientSession) -> None:
    async with stand(hold_seconds=0.3) as front:
        (status, said), (streamed, events) = await asyncio.gather(ask(http, front.url), ask(http, front.url, STREAM))
        assert status == 503 and "Starting" in json.loads(said)["error"]["message"]
        assert streamed == 200 and events.endswith(b"data: [DONE]\n\n") and b'"code":503' in events
        with pytest.raises(openai.APIError, match="no server was ready"):
            _ = [it async for it in await client(front).chat.completions.create(**STREAM)]


async def test_who_hangs_up_waits_no_more(front: Stand, http: aiohttp.ClientSession) -> None:
    for body in (QUESTION, STREAM):
        cut = counted("cut") + 1
        waits = asyncio.create_task(ask(http, front.url, body))
        await front.until_waiting(1)
        waits.cancel()
        await front.until_waiting(0)
        await until(partial(has_counted, "cut", cut))
    front.ready()
    assert not front.server.seen


async def test_who_hangs_up_later_ends_the_work_of_the_server(front: Stand, http: aiohttp.ClientSession) -> None:
    front.server.may_answer.clear()
    front.ready()
    waits = asyncio.create_task(ask(http, front.url))
    await until(lambda: front.server.running)
    waits.cancel()
    await until(lambda: not front.server.running)


async def test_a_suspended_deployment_holds_nobody(front: Stand, http: aiohttp.ClientSession) -> None:
    front.report(Mode.REFUSE, why="spec.suspend is true")
    status, said = await ask(http, front.url)
    assert status == 503 and "spec.suspend is true" in json.loads(said)["error"]["message"]


async def test_only_questions_wake_what_sleeps(front: Stand, http: aiohttp.ClientSession) -> None:
    front.report(Mode.ASLEEP)
    for path in ("/v1/models", "/health", "/metrics", "/"):
        async with http.get(f"{front.url}{path}") as response:
            assert response.status == 503 and "Retry-After" in response.headers
    assert front.holder.waiting(NAME) == 0
    waits = asyncio.create_task(ask(http, front.url))
    await front.until_waiting(1)
    listing = asyncio.create_task(http.get(f"{front.url}/v1/models"))  # somebody else has woken it
    await asyncio.sleep(0.05)
    assert not listing.done() and front.holder.waiting(NAME) == 1
    front.ready()
    assert (await waits)[0] == 200 and (await listing).status == 200


async def test_how_a_server_is_has_an_answer_without_one(front: Stand, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{front.url}/health") as response:
        assert response.status == 503


async def test_a_port_of_nobody(front: Stand, http: aiohttp.ClientSession) -> None:
    status, said = await ask(http, f"http://127.0.0.1:{front.doors.ports[1]}")
    assert status == 503 and json.loads(said)["error"]["type"] == "ServiceUnavailableError"


async def test_a_server_that_refuses_is_asked_again(front: Stand, http: aiohttp.ClientSession) -> None:
    front.server.status = 503
    waits = asyncio.create_task(ask(http, front.url))
    front.ready()
    await until(lambda: front.server.seen)
    assert not waits.done()
    front.server.status = 200
    assert (await waits)[0] == 200


async def test_a_server_that_is_not_there_yet_loses_nobody(front: Stand, http: aiohttp.ClientSession) -> None:
    await front.server.stop()
    front.ready()  # the slice says so, and its process has gone
    waits = [asyncio.create_task(ask(http, front.url)) for _ in range(20)]
    await asyncio.sleep(0.05)
    await front.server.start()
    assert {status for status, _ in await asyncio.gather(*waits)} == {200}


async def test_what_ran_on_a_server_that_dies_is_lost_and_not_run_again(
    front: Stand, http: aiohttp.ClientSession
) -> None:
    front.server.dies = True
    front.ready()
    status, said = await ask(http, front.url)
    assert status == 502 and json.loads(said)["error"]["code"] == 502
    assert sum(front.server.seen.values()) == 1
    front.server.dies, front.server.breaks = False, True
    with pytest.raises(openai.APIError, match="in the midst"):
        _ = [it async for it in await client(front).chat.completions.create(**STREAM)]


async def test_a_new_server_gets_a_few_at_first(front: Stand, http: aiohttp.ClientSession) -> None:
    front.server.may_answer.clear()
    waits = [asyncio.create_task(ask(http, front.url)) for _ in range(60)]
    await front.until_waiting(60)
    front.ready()
    await until(lambda: front.server.running >= 4)
    await asyncio.sleep(0.05)
    assert front.server.most_running == 4
    front.server.may_answer.set()
    assert {status for status, _ in await asyncio.gather(*waits)} == {200}


async def test_connections_are_bounded(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "IDLE_SECONDS", 0.05)
    async with stand(max_connections=2) as front:
        silent = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(2)]
        assert (await ask(http, front.url))[0] == 503
        assert await silent[0][0].read() == b""  # who says nothing is closed
        for _, writer in silent:
            writer.close()


async def test_1000_requests_through_a_server_that_goes_and_comes_back() -> None:
    """Half of them streams, of clients that keep their connections; the balancer does what kube-proxy does."""
    async with stand() as front, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        balancer = Balancer([front.server.port])
        front.ready()
        url, done, failed = f"http://127.0.0.1:{balancer.port}", 0, list[Any]()

        async def user(number: int) -> None:
            nonlocal done
            while done < 1000:
                try:
                    status, said = await ask(http, url, STREAM if number % 2 else QUESTION)
                    if status != 200 or b"error" in said or (number % 2 and not said.endswith(b"[DONE]\n\n")):
                        failed.append((status, said))
                except aiohttp.ClientError as error:
                    failed.append(error)
                done += 1

        def has_done(goal: int) -> bool:
            return done >= goal

        async def changes() -> None:
            for _ in range(3):
                await until(partial(has_done, done + 200))
                front.report(Mode.HOLD)
                balancer.endpoints = [front.port]
                await front.server.drained()
                await front.until_waiting(32)
                await front.server.start()
                front.ready()
                balancer.endpoints = [front.server.port]

        try:
            await asyncio.gather(changes(), *(user(number) for number in range(32)))
        finally:
            balancer.close()
        assert failed == [] and done >= 1000

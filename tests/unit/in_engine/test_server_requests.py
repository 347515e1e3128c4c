"""Who has the next word in a request: the engine is blamed for its own silence alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qwen3_in_engine.server.asgi import Message
from qwen3_in_engine.server.requests import Request, Requests

BODY: Message = {"type": "http.request", "body": b"{}", "more_body": False}
PART: Message = {"type": "http.request", "body": b"{", "more_body": True}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
CHUNK: Message = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: Message = {"type": "http.response.body", "body": b"x"}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Wire:
    """What a request gets from its client and sends to it; a client that reads slowly holds `open` back."""

    def __init__(self, clock: Clock, *messages: Message) -> None:
        self.requests = Requests(clock)
        self.messages = list(messages)
        self.open = asyncio.Event()
        self.open.set()
        self.request = Request(self.requests, self._receive, self._send)
        self.requests.in_flight.add(self.request)

    async def _receive(self) -> Message:
        return self.messages.pop(0)

    async def _send(self, message: Any) -> None:
        await self.open.wait()


async def test_a_client_that_still_sends_its_prompt_is_waited_on_itself(clock: Clock) -> None:
    wire = Wire(clock, PART)
    await wire.request.receive()
    clock.time += 60
    assert wire.requests.silent_seconds() == 0


async def test_a_whole_prompt_waits_on_the_engine(clock: Clock) -> None:
    wire = Wire(clock, PART, BODY)
    await wire.request.receive()
    await wire.request.receive()
    clock.time += 60
    assert wire.requests.silent_seconds() == 60
    assert wire.requests.waiting_on_engine() == 1


async def test_each_token_is_progress_also_for_those_that_wait(clock: Clock) -> None:
    wire = Wire(clock, BODY)
    await wire.request.receive()
    clock.time += 60
    other = Request(wire.requests, wire._receive, wire._send)
    await other.send(START)
    clock.time += 7
    assert wire.requests.silent_seconds() == 7


async def test_a_client_that_reads_slowly_is_waited_on_itself(clock: Clock) -> None:
    wire = Wire(clock, BODY)
    await wire.request.receive()
    await wire.request.send(START)
    wire.open.clear()
    sending = asyncio.create_task(wire.request.send(CHUNK))
    await asyncio.sleep(0)
    clock.time += 60
    assert wire.requests.silent_seconds() == 0
    wire.open.set()
    await sending
    clock.time += 5
    assert wire.requests.silent_seconds() == 5


async def test_after_the_last_word_nobody_waits(clock: Clock) -> None:
    wire = Wire(clock, BODY)
    await wire.request.receive()
    await wire.request.send(START)
    await wire.request.send(LAST)
    clock.time += 60
    assert wire.requests.silent_seconds() == 0

"""The API server refuses, hangs up, is slow or away at any request; the end is as if nothing had been."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from tests.faults.bench import Bench, Case, sample
from tests.faults.operator_thread import Answer, Injector, OperatorThread
from tests.faults.scenarios import CHANGE_MODEL, CREATE
from tests.faults.test_crash import Outcome, fault_free, prepare

from qwen3_operator.process import _KINDS

Send = Callable[[], Awaitable[Answer]]
Fault = Callable[[Send], Awaitable[Answer]]
POINTS = 2
"""Requests that fail, for each kind of fault in the short mode."""
AWAY_SECONDS = 4.0
HELD_SECONDS = 2.5
"""Less than the operator waits for a log in all."""


def refusing(status: int, reason: str, retry_after: float | None = None) -> Fault:
    """The API server answers with an error and does nothing."""

    async def fault(_: Send) -> Answer:
        return status, retry_after, json.dumps({"reason": reason, "message": "a fault of the test"}).encode()

    return fault


async def reset(_: Send) -> Answer:
    """The connection breaks before the request arrives."""
    return 0, None, b"ServerDisconnectedError: a fault of the test"


async def lost_answer(send: Send) -> Answer:
    """What was asked is done, and the connection breaks before the answer arrives."""
    await send()
    return 0, None, b"ClientOSError: a fault of the test"


async def slow(send: Send) -> Answer:
    """The answer takes two seconds."""
    await asyncio.sleep(2)
    return await send()


FAULTS: dict[str, Fault] = {
    "409": refusing(409, "Conflict"),
    "429 with Retry-After": refusing(429, "TooManyRequests", 1.0),
    "500": refusing(500, "InternalError"),
    "503 with Retry-After": refusing(503, "ServiceUnavailable", 1.0),
    "403": refusing(403, "Forbidden"),
    "reset": reset,
    "lost answer": lost_answer,
    "slow": slow,
}


@pytest.fixture
def sound(bench: Bench) -> Outcome:
    """The scenario without a fault."""
    return fault_free(bench, CREATE)


def disturbed(case: Case, fault: Callable[[int, Send], Awaitable[Answer]]) -> OperatorThread:
    """An operator whose requests go through `fault`."""
    operator = case.operator(start=False)
    operator.fault = fault
    return operator.start()


@pytest.mark.parametrize("name", FAULTS)
def test_one_request_fails(bench: Bench, sound: Outcome, name: str) -> None:
    # The first requests ask for our kinds; a refusal there ends the process.
    requests = list(range(len(_KINDS) + 1, sound.requests + 1))
    struck = []

    def check(at: int) -> None:
        async def fault(number: int, send: Send) -> Answer:
            if number == at:
                struck.append(at)
            return await (FAULTS[name](send) if number == at else send())

        with bench.case("api") as case:
            operator = disturbed(case, fault)
            CREATE.act(case.world)
            case.wait_quiet(operator, lambda: CREATE.ended(case.world), f"{name} at request {at}")
            case.wait_state(sound.state)
            assert case.jobs_made() <= sound.jobs, "a download was run again"

    bench.each(check, sample(requests, POINTS))
    assert struck, "no run came to the request that was to fail"


def test_every_status_meets_a_conflict_first(bench: Bench, sound: Outcome) -> None:
    """The last one, too: nothing comes after it that would have it written again."""
    struck: Counter[str] = Counter()

    async def fault(_: int, send: Send) -> Answer:
        method, path = cast("functools.partial[Awaitable[Answer]]", send).args[:2]
        if method == "PATCH" and path.partition("?")[0].endswith("/status"):
            struck[path] += 1
            if struck[path] % 2:
                return await FAULTS["409"](send)
        return await send()

    with bench.case("conflicts") as case:
        operator = disturbed(case, fault)
        CREATE.act(case.world)
        case.wait_quiet(operator, lambda: CREATE.ended(case.world), "served")
        case.wait_state(sound.state)
    assert len(struck) == 2 and not any(count % 2 for count in struck.values()), "each was written in the end"


def test_a_model_that_cannot_be_let_go_at_once_is_let_go_later(bench: Bench) -> None:
    """Servers run another model; the deletion of the first one meets a conflict, or its answer is lost."""
    sound = fault_free(bench, CHANGE_MODEL)

    def check(name: str) -> None:
        struck: list[str] = []

        async def fault(_: int, send: Send) -> Answer:
            method, path = cast("functools.partial[Awaitable[Answer]]", send).args[:2]
            if struck or method != "DELETE" or "/qwen3models/" not in path:
                return await send()
            struck.append(path)
            return await FAULTS[name](send)

        with bench.case("release") as case:
            prepare(case, CHANGE_MODEL)
            operator = disturbed(case, fault)
            CHANGE_MODEL.act(case.world)
            case.wait_quiet(operator, lambda: CHANGE_MODEL.ended(case.world), name)
            case.wait_state(sound.state)
            assert struck, "no model was deleted"

    bench.each(check, ["409", "lost answer"])


@pytest.mark.parametrize("fault", ["reset", "500", "403"])
def test_every_request_fails_for_a_while(bench: Bench, sound: Outcome, fault: str) -> None:
    with bench.case("away") as case:
        away_from: list[float] = []

        async def away(number: int, send: Send) -> Answer:
            if number > 12 and not away_from:
                away_from.append(time.monotonic())
            gone = away_from and time.monotonic() - away_from[0] < AWAY_SECONDS
            return await (FAULTS[fault](send) if gone else send())

        operator = disturbed(case, away)
        CREATE.act(case.world)
        case.wait_quiet(operator, lambda: CREATE.ended(case.world), f"{fault} for {AWAY_SECONDS} s")
        case.wait_state(sound.state)
        assert away_from and operator.sent < 60 * AWAY_SECONDS, "requests without a pause between them"


class HeldLogs(Injector):
    """Logs that do not come until `released` is true, or for `HELD_SECONDS`."""

    def __init__(self, released: Callable[[], bool]) -> None:
        super().__init__()
        self._released = released
        self.seen_released = False

    async def __call__(self, stage: str, verb: str, path: str) -> None:
        until = time.monotonic() + HELD_SECONDS
        while (stage, verb) == ("before", "logs") and not self.seen_released and time.monotonic() < until:
            self.seen_released = await asyncio.to_thread(self._released)
        await super().__call__(stage, verb, path)


def test_a_slow_kubelet_does_not_hold_up_ready(bench: Bench) -> None:
    with bench.case("logs") as case:
        logs = HeldLogs(lambda: case.world.is_ready("chat"))
        operator = case.operator(logs)
        CREATE.act(case.world)
        case.wait_quiet(operator, lambda: CREATE.ended(case.world), "served")
        assert logs.seen_released, "Ready was written while the log was yet to come"
        assert case.world.must("Qwen3Deployment", "chat")["status"]["startup"]["pod"]

"""When a server is to be restarted, and when it only seems so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from qwen3_in_engine.server import liveness
from qwen3_in_engine.server.liveness import Liveness, engine_processes
from qwen3_in_engine.server.requests import Request, Requests

STALL = 0.4


class Engine:
    """vLLM's client of its engine; the core answers while `works` is set."""

    def __init__(self) -> None:
        self.works = asyncio.Event()
        self.works.set()
        self.errored = False
        self.output_processor = self
        self.request_states: dict[str, Any] = {}

    async def is_sleeping(self) -> bool:
        await self.works.wait()
        return False


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PING_SECONDS", 0.05)


async def watched(engine: Engine, requests: Requests | None = None) -> tuple[Liveness, asyncio.Task[None]]:
    found = Liveness(requests or Requests(), STALL)
    task = asyncio.create_task(found.watch(engine))
    await asyncio.sleep(0.1)
    return found, task


async def test_an_engine_that_answers_is_alive(engine: Engine) -> None:
    found, task = await watched(engine)
    await asyncio.sleep(STALL * 2)
    assert found.fault(engine) == ""
    task.cancel()


async def test_an_engine_that_hangs_is_found_without_any_request(engine: Engine) -> None:
    found, task = await watched(engine)
    engine.works.clear()
    await asyncio.sleep(STALL / 2)
    assert found.fault(engine) == "", "a step may take so long"
    await asyncio.sleep(STALL)
    assert "has not answered for" in found.fault(engine)
    engine.works.set()
    await asyncio.sleep(0.1)
    assert found.fault(engine) == ""
    task.cancel()


async def test_an_engine_that_says_that_it_is_dead(engine: Engine) -> None:
    found, task = await watched(engine)
    engine.errored = True
    assert found.fault(engine) == "the engine is dead"
    task.cancel()


async def test_a_request_without_tokens_for_long(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests()
    found, task = await watched(engine, requests)

    async def never(*_: Any) -> Any:
        raise AssertionError

    request = Request(requests, never, never)
    request.since = requests.now() - STALL * 11
    requests.progress_at = request.since
    requests.in_flight.add(request)
    assert found.fault(engine) == "", "it is not with the engine yet: a picture may be on its way"
    engine.request_states["a"] = object()
    assert "1 requests have got no token for" in found.fault(engine)
    task.cancel()


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A child that is called as vLLM calls its workers."""
    code = "import time; time.sleep(60)"
    with subprocess.Popen(["VLLM::Worker_TP0", "-c", code], executable=sys.executable) as process:
        yield process
        process.kill()


async def test_a_worker_that_is_gone(engine: Engine, worker: subprocess.Popen[bytes]) -> None:
    assert worker.pid in dict(engine_processes())
    found, task = await watched(engine)
    assert found.fault(engine) == ""
    os.kill(worker.pid, signal.SIGKILL)
    await asyncio.sleep(0.2)
    assert found.fault(engine) == f"process {worker.pid} of the engine is gone"
    task.cancel()


async def test_other_children_are_nobodys_business(engine: Engine) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:  # noqa: ASYNC220
        assert other.pid not in dict(engine_processes())
        other.kill()

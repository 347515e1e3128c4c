"""The probes and the metrics, asked over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest

from qwen3_operator.controller import probes as probes_module
from qwen3_operator.controller.probes import Probes


class Asked:
    """Probes, and what they answer."""

    def __init__(self) -> None:
        self.unready, self.ill = "", ""
        self.probes = Probes(lambda: self.unready, lambda: self.ill)

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.probes.port}{path}") as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    it = Asked()
    await it.probes.start("127.0.0.1", 0)
    yield it
    await it.probes.stop()


async def test_they_say_what_is_wrong(asked: Asked) -> None:
    assert await asked.get("/readyz") == await asked.get("/healthz") == (200, "ok")
    asked.unready = "starting"
    assert await asked.get("/readyz") == (503, "starting")
    assert await asked.get("/healthz") == (200, "ok")
    asked.ill = "a task ended"
    assert await asked.get("/healthz") == (500, "a task ended")


async def test_a_loop_that_was_blocked_is_not_healthy(asked: Asked) -> None:
    asked.probes._lag = probes_module.LAG_LIMIT
    assert await asked.get("/healthz") == (500, "loop lag 10.0 s")


async def test_metrics_are_written_out_beside_the_loop_and_once_for_all_who_ask(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go_on = [], threading.Event()

    def slow() -> bytes:
        assert go_on.wait(5), "the loop was blocked"
        made.append(threading.current_thread())
        return b"series"

    monkeypatch.setattr(probes_module, "generate_latest", slow)
    asking = [asyncio.create_task(asked.get("/metrics")) for _ in range(20)]
    assert await asked.get("/healthz") == (200, "ok"), "meanwhile"
    go_on.set()
    assert await asyncio.gather(*asking) == [(200, "series")] * 20
    assert len(made) == 1 and made[0] is not threading.main_thread()
    asked.probes._metrics_good_until = 0.0
    await asked.get("/metrics")
    assert len(made) == 2


async def test_metrics_that_take_long_are_written_out_more_seldom(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes_module, "METRICS_PERIOD", 0.0)
    monkeypatch.setattr(probes_module, "METRICS_SHARE", 1e-9)  # the shortest measurable time is enough for hours
    made = []
    monkeypatch.setattr(probes_module, "generate_latest", lambda: made.append(1) or b"x")  # type: ignore[func-returns-value]
    for _ in range(3):
        await asked.get("/metrics")
    assert len(made) == 1

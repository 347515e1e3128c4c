"""The same, of a real vLLM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.engine_real.server import serving
from tests.load.clients import use
from tests.monitoring.test_queries import silent_queries

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


async def test_every_query_gives_data_with_a_real_vllm(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server") as server:
        server.wait()
        tally, stop, users = use("127.0.0.1", server.port, 2)
        try:
            assert await silent_queries(server.port, tmp_path) == {}
        finally:
            stop.set()
            for user in users:
                await asyncio.to_thread(user.join, 60)
    assert tally.ok and not tally.failures, tally.as_json()

"""Every query of every alert and panel gives data: a real Prometheus scrapes the operator and servers of vLLM."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.monitoring import operator_at_work, scrapes, vllm_exporter
from tests.monitoring.files import queries
from tests.monitoring.prometheus import Prometheus, prometheus

pytestmark = pytest.mark.cluster  # helm and Prometheus are no programs of the unit tests
WITHIN_SECONDS = 180
"""A subquery has a value every 30 s, and two of them make a slope."""


@pytest.mark.long
@pytest.mark.parametrize("version", ["0.18.1", "0.33.0"])
async def test_every_query_gives_data(version: str, tmp_path: Path) -> None:
    with vllm_exporter.serving(version) as server:
        silent = await silent_queries(server, tmp_path)
    assert silent == {}, f"no data with vLLM {version}"


async def silent_queries(server: int, folder: Path) -> dict[str, str]:
    """The queries that give no data, of a server at that port and an operator which has everything."""
    async with operator_at_work.serving() as operator:
        jobs = [
            scrapes.of_operator(operator),
            scrapes.of_server(server, operator_at_work.SERVED, namespace=operator_at_work.NAMESPACE),
        ]
        with prometheus(folder, jobs) as it:
            return await asyncio.to_thread(_ask, it, WITHIN_SECONDS)


def _ask(it: Prometheus, seconds: int) -> dict[str, str]:
    waiting, until = queries(), time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        waiting = {place: query for place, query in waiting.items() if not it.query(query)}
        time.sleep(1)
    return waiting

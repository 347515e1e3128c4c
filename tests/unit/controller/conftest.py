"""What tests of the queue share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.controller.queues import ManualLoop


@pytest.fixture
def loop() -> Any:
    it = ManualLoop()
    asyncio.set_event_loop(it)
    yield it
    asyncio.set_event_loop(None)
    it.close()

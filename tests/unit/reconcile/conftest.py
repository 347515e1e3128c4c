"""What tests of reconcilers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.reconcile.batch_world import World


@pytest.fixture
def world() -> Iterator[World]:
    yield World()

"""A control plane and one operator for the folder; each example has two namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.conftest import bench, soon_again

__all__ = ["bench", "soon_again"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is of the faults."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)

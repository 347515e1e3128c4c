"""A control plane and one operator for the folder; each example has two namespaces."""

from __future__ import annotations

from tests.faults.conftest import bench, soon_again

__all__ = ["bench", "soon_again"]

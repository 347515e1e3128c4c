"""What a Job says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.status.jobs import lacks_pods

STARTED: dict[str, Any] = {"startTime": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("status", "lacks"),
    [
        ({}, False),  # its controller has not seen it
        (STARTED | {"active": 1}, False),
        (STARTED | {"ready": 0, "terminating": 0}, True),
        (STARTED | {"terminating": 1}, False),  # of a node that is drained, say: the next comes when it is over
        (STARTED | {"failed": 1}, False),  # it waits before the next
        (STARTED | {"succeeded": 1}, False),
        (STARTED | {"conditions": [{"type": "Failed", "status": "True"}]}, False),
    ],
)
def test_a_job_that_began_and_has_no_pods(status: dict[str, Any], lacks: bool) -> None:
    assert lacks_pods({"status": status}) is lacks


def test_no_job_lacks_no_pods() -> None:
    assert not lacks_pods(None)

"""What the tests of the development cluster share."""

import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Call a check until it holds; its last AssertionError when time is up."""

    def wait(check: Callable[[], Any], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                check()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    return wait

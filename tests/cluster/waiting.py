"""Wait for something to become true, and say what stood there when it did not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1


def wait_until(
    check: Callable[[], T | None], *, within: float = 15.0, what: str = "", showing: Callable[[], str] | None = None
) -> T:
    """Call `check` until it returns something true; returns that. What it asserts, or reads from an object that does
    not have it yet, may fail meanwhile.

    Raises AssertionError with the last word of `check` and what `showing` returns after `within` seconds.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            result = check()
            if result:
                return result
            last = f"last: {result!r}"
        except AssertionError as error:
            last = str(error)
        except (LookupError, ValueError) as error:
            last = f"last: {error!r}"
        if time.monotonic() > deadline:
            shown = f"\n{showing()}" if showing else ""
            raise AssertionError(f"not within {within:g} s: {what or check.__name__}\n{last}{shown}")
        time.sleep(POLL_SECONDS)


def stays(check: Callable[[], T], *, seconds: float, what: str = "") -> None:
    """`check` is true now and stays so for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert check(), f"did not stay so for {seconds:g} s: {what or check.__name__}"
        time.sleep(POLL_SECONDS)

"""Wait for something to become true, and say what stood there when it did not. And what waiting is reasonable."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 0.4
"""Between two checks: what takes long is asked less often, for many wait on one machine, and each check costs CPU."""
AT_ONCE = 5.0
"""Seconds in which somebody else's new object has its conditions, whatever goes on."""
_WORK, _WORK_SECONDS = 2_000_000, 0.02
"""Some work, and how long it takes on the quiet machine on which limits are set."""


def wait_until(
    check: Callable[[], T | None], *, within: float = 15.0, what: str = "", showing: Callable[[], str] | None = None
) -> T:
    """Call `check` until it returns something true; returns that. What it asserts, or reads from an object that does
    not have it yet, may fail meanwhile.

    Raises AssertionError with the last word of `check` and what `showing` returns after `within` seconds.
    """
    began = time.monotonic()
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
        passed = time.monotonic() - began
        if passed > within:
            shown = f"\n{showing()}" if showing else ""
            raise AssertionError(f"not within {within:g} s: {what or check.__name__}\n{last}{shown}")
        time.sleep(min(MOST_POLL_SECONDS, max(POLL_SECONDS, passed / 20)))


def stays(check: Callable[[], T], *, seconds: float, what: str = "") -> None:
    """`check` is true now and stays so for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert check(), f"did not stay so for {seconds:g} s: {what or check.__name__}"
        time.sleep(POLL_SECONDS)


def slowness() -> float:
    """How many times longer everything takes now than on a quiet machine, waits for the CPU included; at least 1."""

    def once() -> float:
        started = time.monotonic()
        sum(range(_WORK))
        return time.monotonic() - started

    return max(1.0, statistics.median(once() for _ in range(9)) / _WORK_SECONDS)

"""Which step of the sweep comes next, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_in_engine.capacity.contract import MOST_STEPS, Step

WAVES = 3
"""Requests that each user sends: the first come all at once, as no users do, and the others one by one."""
FEWEST_REQUESTS = 4
FINE = 4
"""Between the most that is fast enough and the least that is not, a quarter of the former is near enough."""


def next_concurrency(steps: Sequence[Step], target_milliseconds: int, most: int) -> int | None:
    """How many requests are sent at the same time next: 1, 2, 4 … and then between the last that was fast enough and
    the first that was not. None: it is over."""
    if len(steps) >= MOST_STEPS:
        return None
    good = fast_enough(steps, target_milliseconds)
    slow = min((s.concurrency for s in steps if s.ttft_milliseconds > target_milliseconds), default=None)
    if slow is None:
        return min(2 * good, most) if 0 < good < most else (None if good else 1)
    middle = (good + slow) // 2
    return middle if good < middle < slow and FINE * (slow - good) > good else None


def fast_enough(steps: Sequence[Step], target_milliseconds: int) -> int:
    """The most requests at the same time with which the target was kept; 0: not even one."""
    return max((s.concurrency for s in steps if s.ttft_milliseconds <= target_milliseconds), default=0)


def requests_of(concurrency: int) -> int:
    """Requests that a step sends."""
    return max(FEWEST_REQUESTS, WAVES * concurrency)


def ended_by(steps: Sequence[Step], target_milliseconds: int, most: int) -> str:
    """Why there is no further step, where there was time for one: `target` or `batch`; else `time`."""
    if next_concurrency(steps, target_milliseconds, most) is not None:
        return "time"
    return "batch" if fast_enough(steps, target_milliseconds) >= most else "target"

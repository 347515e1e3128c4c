"""The keyed queue: nothing twice, never two workers on one key, failures back off, lanes take turns."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.controller.queues import ManualLoop, run

from qwen3_operator.controller.queue import (
    FIRST_DELAY,
    LAST_DELAY,
    TROUBLE_PATIENCE,
    KeyedQueue,
    Requeue,
)

KEYS = st.sampled_from(["a1", "a2", "b1", "b2", "c1"])
WORKERS, LIMIT = 6, 2


class QueueMachine(RuleBasedStateMachine):
    """Any order of adds, edits, delays, results and time, with two workers and spare ones."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ManualLoop()
        self.queue: KeyedQueue[str] = KeyedQueue(lambda key: (key[0],), limit=LIMIT)
        self.working: dict[str, asyncio.Future[None]] = {}
        self.owed: set[str] = set()
        """Keys that were added after their last reconcile began."""
        self.due: dict[str, float] = {}
        self.workers = [self.loop.create_task(self.queue.work(self.handle)) for _ in range(WORKERS)]
        self.loop.turn()

    async def handle(self, key: str) -> None:
        assert key not in self.working, "two workers on one key"
        assert key in self.owed or self.due.get(key, 1e9) <= self.loop.now + 1e-6, "a reconcile that nobody asked for"
        self.owed.discard(key)
        self.due.pop(key, None)
        done = self.working[key] = self.loop.create_future()
        await done
        del self.working[key]

    def act(self, action: Callable[..., Any], *args: Any) -> None:
        """As a callback in the loop, which is where the operator calls the queue."""
        self.loop.call_soon(action, *args)
        self.loop.turn()

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.owed.add(key)
        self.due.pop(key, None)
        self.act(self.queue.add, key)

    @rule(key=KEYS)
    def edit(self, key: str) -> None:
        self.owed.add(key)
        self.due.pop(key, None)
        self.act(partial(self.queue.add, edited=True), key)

    @rule(key=KEYS, seconds=st.floats(0.1, 10))
    def add_after(self, key: str, seconds: float) -> None:
        if key not in self.owed:
            self.due[key] = min(self.due.get(key, 1e9), self.loop.now + seconds)
        self.act(self.queue.add_after, key, seconds)

    @rule(seconds=st.floats(0.1, 12))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.act(self.working[key].set_result, None)

    @invariant()
    def a_free_worker_leaves_nothing_lying(self) -> None:
        waiting = {key for key in self.owed if key not in self.working}
        waiting |= {key for key, due in self.due.items() if due <= self.loop.now and key not in self.working}
        assert not waiting or len(self.working) >= LIMIT
        if len(self.working) < WORKERS:
            assert {key[0] for key in waiting} <= {key[0] for key in self.working}, "a spare worker is for other lanes"
        lanes = Counter(key[0] for key in self.working)
        assert all(count <= LIMIT + 1 for count in lanes.values()), "the limit, and an edit"
        assert len(self.working) - max(0, len(lanes) - 1) <= LIMIT + len(lanes)
        assert self.queue.active == len(self.working)
        assert self.queue.workers == WORKERS

    def teardown(self) -> None:
        for worker in self.workers:
            worker.cancel()
        for done in self.working.values():
            done.cancel()
        self.loop.turn()
        self.loop.close()


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestQueue = QueueMachine.TestCase


def test_many_adds_are_one_reconcile(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(10):
        run(loop, queue.add, "a")
    assert len(queue) == 1


def test_back_off_doubles_with_jitter_up_to_the_last(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    random.seed(1)
    delays = [run(loop, queue.failed, "a") for _ in range(16)]
    assert [failures for _, failures in delays] == list(range(1, 17))
    for number, (delay, _) in enumerate(delays):
        middle = min(LAST_DELAY, FIRST_DELAY * 2**number)
        assert 0.75 * middle <= delay <= 1.25 * middle
    assert len({round(delay / min(LAST_DELAY, FIRST_DELAY * 2**n), 6) for n, (delay, _) in enumerate(delays)}) > 8


def test_success_starts_the_back_off_afresh(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(5):
        run(loop, queue.failed, "a")
    queue.succeeded("a")
    assert run(loop, queue.failed, "a")[1] == 1


def test_of_two_delays_the_earlier_holds(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    run(loop, queue.add_after, "a", 5.0)
    run(loop, queue.add_after, "a", 50.0)
    loop.advance(4.9)
    assert len(queue) == 0
    loop.advance(0.2)
    assert len(queue) == 1
    run(loop, queue.add_after, "b", 50.0)
    run(loop, queue.add_after, "b", 5.0)
    loop.advance(5.1)
    assert len(queue) == 2


def test_a_key_added_while_it_is_in_work_is_reconciled_again(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    handled: list[str] = []
    first = loop.create_future()

    async def handle(key: str) -> None:
        handled.append(key)
        if len(handled) == 1:
            await first

    worker = loop.create_task(queue.work(handle))
    run(loop, queue.add, "a")
    run(loop, queue.add, "a")
    assert handled == ["a"]
    run(loop, first.set_result, None)
    assert handled == ["a", "a"]
    worker.cancel()
    loop.turn()


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), MemoryError(), asyncio.CancelledError()])
def test_a_worker_outlives_what_one_key_raises(
    loop: ManualLoop, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)
        if key == "bad":
            raise error

    worker = loop.create_task(queue.work(handle))
    run(loop, queue.add, "bad")
    run(loop, queue.add, "good")
    assert seen == ["bad", "good"] and not worker.done() and queue.workers == 1
    assert "bad: not handled" in caplog.text
    loop.advance(FIRST_DELAY * 1.3)
    assert seen == ["bad", "good", "bad"], "and the key is tried again"
    worker.cancel()
    loop.turn()
    assert worker.cancelled() and queue.workers == 0


def test_what_is_no_exception_ends_the_worker(loop: ManualLoop) -> None:
    class Crash(BaseException):
        pass

    queue: KeyedQueue[str] = KeyedQueue()

    async def handle(key: str) -> None:
        raise Crash

    worker = loop.create_task(queue.work(handle))
    run(loop, queue.add, "a")
    assert isinstance(worker.exception(), Crash) and queue.workers == 0 and queue.active == 0


def in_trouble(loop: ManualLoop, queue: KeyedQueue[str], seconds: float) -> list[float]:
    """When `a` is reconciled within `seconds`, if each time something is in its way."""
    times: list[float] = []

    async def handle(key: str) -> None:
        times.append(loop.now)
        queue.succeeded(key, Requeue(10, trouble=True))

    worker = loop.create_task(queue.work(handle))
    run(loop, queue.add, "a")
    end = loop.now + seconds
    while loop.now < end:
        loop.advance(0.5)  # what is due in between is half a second late at most
    worker.cancel()
    loop.turn()
    return times


def test_trouble_that_lasts_is_tried_less_and_less_often(loop: ManualLoop) -> None:
    times = in_trouble(loop, KeyedQueue(), 3 * 3600)
    gaps = {begin: end - begin for begin, end in itertools.pairwise(times)}
    assert all(gap <= 10.5 for begin, gap in gaps.items() if begin < TROUBLE_PATIENCE), "as asked for, at first"
    assert all(gap <= 61 for begin, gap in gaps.items() if begin < TROUBLE_PATIENCE + 240)
    assert all(0.75 * LAST_DELAY <= gap <= LAST_DELAY + 1 for begin, gap in gaps.items() if begin > 3600)


def test_trouble_is_tried_at_the_moment_that_is_asked_for(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    in_trouble(loop, queue, 3600)
    run(loop, queue.succeeded, "a", Requeue(10, trouble=True, by=20))
    assert queue._timers["a"].when() <= loop.time() + 20


def test_news_and_an_end_of_the_trouble_start_it_afresh(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    in_trouble(loop, queue, 3600)
    before = loop.now
    times = in_trouble(loop, queue, 60)
    assert times[0] - before < 1, "at once"
    assert times[1] - times[0] <= 10.5
    in_trouble(loop, queue, 3600)
    run(loop, queue.succeeded, "a")
    run(loop, queue.succeeded, "b", Requeue(10, trouble=True))
    assert queue._trouble.keys() == {"b"}, "who is out of it is forgotten"


@pytest.mark.parametrize("again", [7.0, Requeue(7.0)])
def test_a_success_may_ask_for_another_reconcile(loop: ManualLoop, again: Requeue | float) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    run(loop, queue.succeeded, "a", again)
    loop.advance(6.9)
    assert len(queue) == 0
    loop.advance(0.2)
    assert len(queue) == 1


def test_a_failure_waits_at_least_as_long_as_the_server_asks(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    assert run(loop, queue.failed, "a", 20.0) == (20.0, 1)


def test_what_is_stuck_shows(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()

    def shown() -> tuple[float, float]:
        return run(loop, lambda: (queue.stuck, queue.longest))  # type: ignore[no-any-return]

    loop.advance(100)
    run(loop, queue.add, "a")
    assert shown() == (0, 0)
    loop.advance(5)
    assert shown() == (5, 0), "nobody takes it"

    async def for_ever(key: str) -> None:
        await asyncio.Event().wait()

    worker = loop.create_task(queue.work(for_ever))
    loop.turn()
    loop.advance(7)
    assert shown() == (0, 7), "it does not end"
    run(loop, queue.add, "a")
    assert shown() == (0, 7), "what waits for itself is not stuck"
    worker.cancel()
    loop.turn()

"""The keyed queue: nothing twice, never two workers on one key, failures back off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qwen3_operator.controller.queue import FIRST_DELAY, LAST_DELAY, KeyedQueue

KEYS = st.sampled_from(["a", "b", "c"])


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def turn(self, times: int = 5) -> None:
        """Let everything that is ready run."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds
        self.turn()


class QueueMachine(RuleBasedStateMachine):
    """Any order of adds, delays, results and time, with two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ManualLoop()
        self.queue: KeyedQueue[str] = KeyedQueue()
        self.working: dict[str, asyncio.Future[None]] = {}
        self.owed: set[str] = set()
        """Keys that were added after their last look began."""
        self.due: dict[str, float] = {}
        self.workers = [self.loop.create_task(self.queue.work(self.handle)) for _ in range(2)]
        self.loop.turn()

    async def handle(self, key: str) -> None:
        assert key not in self.working, "two workers on one key"
        assert key in self.owed or self.due.get(key, 1e9) <= self.loop.now, "a look that nobody asked for"
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
        assert not waiting or len(self.working) == 2
        assert self.queue.active == len(self.working)

    def teardown(self) -> None:
        for worker in self.workers:
            worker.cancel()
        for done in self.working.values():
            done.cancel()
        self.loop.turn()
        self.loop.close()


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueue = QueueMachine.TestCase


@pytest.fixture
def loop() -> Any:
    it = ManualLoop()
    asyncio.set_event_loop(it)
    yield it
    asyncio.set_event_loop(None)
    it.close()


def run(loop: ManualLoop, action: Callable[..., Any], *args: Any) -> Any:
    """The result of `action`, called inside the loop."""
    results: list[Any] = []
    loop.call_soon(lambda: results.append(action(*args)))
    loop.turn()
    return results[0]


def test_many_adds_are_one_look(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(10):
        queue.add("a")
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


def test_a_key_added_while_it_is_worked_on_is_looked_at_again(loop: ManualLoop) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    looks: list[str] = []
    first = loop.create_future()

    async def handle(key: str) -> None:
        looks.append(key)
        if len(looks) == 1:
            await first

    worker = loop.create_task(queue.work(handle))
    run(loop, queue.add, "a")
    run(loop, queue.add, "a")
    assert looks == ["a"]
    run(loop, first.set_result, None)
    assert looks == ["a", "a"]
    worker.cancel()
    loop.turn()

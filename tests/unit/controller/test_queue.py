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
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qwen3_operator.controller.queue import (
    FIRST_DELAY,
    LAST_DELAY,
    LASTING_SECONDS,
    TROUBLE_PATIENCE,
    KeyedQueue,
    Requeue,
)

KEYS = st.sampled_from(["a1", "a2", "b1", "b2", "c1"])
WORKERS, LIMIT = 6, 2


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
    """Any order of adds, edits, delays, results and time, with two workers and spare ones."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ManualLoop()
        self.queue: KeyedQueue[str] = KeyedQueue(lambda key: (key[0],), limit=LIMIT)
        self.working: dict[str, asyncio.Future[None]] = {}
        self.owed: set[str] = set()
        """Keys that were added after their last look began."""
        self.due: dict[str, float] = {}
        self.workers = [self.loop.create_task(self.queue.work(self.handle)) for _ in range(WORKERS)]
        self.loop.turn()

    async def handle(self, key: str) -> None:
        assert key not in self.working, "two workers on one key"
        assert key in self.owed or self.due.get(key, 1e9) <= self.loop.now + 1e-6, "a look that nobody asked for"
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


class Worked:
    """A queue with one worker, which does what `handle` says; `order` is what it worked on."""

    def __init__(self, loop: ManualLoop, lane: Callable[[Any], tuple[Any, ...]] = lambda key: ()) -> None:
        self.loop, self.order = loop, []  # type: tuple[ManualLoop, list[Any]]
        self.queue: KeyedQueue[Any] = KeyedQueue(lane)

    async def handle(self, key: Any) -> None:
        self.order.append(key)

    def all(self, *keys: Any) -> list[Any]:
        """Add `keys` at one moment, and work until nothing waits: the order."""

        def add() -> None:
            for key in keys:
                self.queue.add(key)

        worker = self.loop.create_task(self.queue.work(self.handle))
        self.loop.call_soon(add)
        self.loop.turn()
        while len(self.queue):
            self.loop.turn()
        worker.cancel()
        self.loop.turn()
        return self.order


def kind_and_namespace(key: tuple[str, str, int]) -> tuple[str, str]:
    return key[0], key[1]


def test_ten_thousand_keys_of_a_lane_are_a_few_turns_for_others(loop: ManualLoop) -> None:
    flood = [("Model", "attacker", number) for number in range(10_000)]
    victims = [("Deployment", "victim", 0), ("Model", "victim", 0), ("Model", "other", 0)]
    order = Worked(loop, kind_and_namespace).all(*flood, *victims)
    assert max(order.index(victim) for victim in victims) <= 6
    assert len(order) == len(flood) + len(victims)
    assert [key for key in order if key not in victims] == flood, "in a lane: in the order in which they came"


NAMESPACES = st.dictionaries(st.sampled_from("nmo"), st.integers(1, 40), min_size=1)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("KLM"), NAMESPACES, min_size=1))
def test_nobody_waits_for_more_turns_than_there_are_lanes(load: dict[str, dict[str, int]]) -> None:
    keys = [(k, n, i) for k, namespaces in load.items() for n, count in namespaces.items() for i in range(count)]
    loop = ManualLoop()
    order = Worked(loop, kind_and_namespace).all(*keys)
    assert sorted(order) == sorted(keys)
    for kind, namespaces in load.items():
        for namespace in namespaces:
            of_lane = [i for i, key in enumerate(order) if key[:2] == (kind, namespace)]
            most = len(load) * len(namespaces)
            for earlier, later in itertools.pairwise([-1, *of_lane]):
                assert later - earlier <= most, (kind, namespace, order)
    loop.close()


def test_a_key_that_failed_is_not_behind_all_that_waits_in_its_lane(loop: ManualLoop) -> None:
    """Somebody is told why within seconds, however much there is to do."""
    worked, failed = Worked(loop), []

    async def handle(key: Any) -> None:
        worked.order.append(key)
        if key == "bad":
            failed.append(worked.queue.failed(key))
        loop.now += 0.05

    worked.handle = handle  # type: ignore[method-assign]
    order = worked.all("bad", *range(1000))
    tries = [number for number, key in enumerate(order) if key == "bad"]
    assert len(failed) >= 4
    assert tries[3] * 0.05 < 3, "four failures in the time of the back-off"
    assert len(tries) <= 9, "and later it waits as all do"


def test_of_hundreds_that_fail_each_has_failed_twice_within_seconds(loop: ManualLoop) -> None:
    """Each is told of then: among a thousand others, at 20 reconciles a second."""
    worked = Worked(loop)
    first: dict[int, float] = {}
    told: dict[int, float] = {}

    async def handle(key: Any) -> None:
        loop.now += 0.05
        if key % 10 in (2, 5, 8) and key not in told:
            failures = worked.queue.failed(key)[1]
            first.setdefault(key, loop.now)
            if failures >= 4 or (failures > 1 and worked.queue.failing(key) >= LASTING_SECONDS):
                told[key] = loop.now
        else:
            worked.queue.succeeded(key)

    worked.handle = handle  # type: ignore[method-assign]
    worked.all(*range(1000))
    late = [told.get(key, loop.now) - first[key] for key in first]
    assert len(first) == 300
    assert max(late) < 10


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6])
def test_until_somebody_was_told_it_does_not_wait_behind_what_is_due(loop: ManualLoop, seconds: float) -> None:
    """However long each takes: three failures may come within two seconds, and the fourth after them."""
    worked = Worked(loop)
    failures: list[tuple[float, int]] = []

    async def handle(key: Any) -> None:
        loop.now += seconds
        if key == "bad" and not told():
            failures.append((loop.now, worked.queue.failed(key)[1]))

    def told() -> bool:
        last, count = failures[-1] if failures else (0.0, 0)
        return count >= 4 or (count > 1 and last - failures[0][0] >= LASTING_SECONDS)

    worked.handle = handle  # type: ignore[method-assign]
    for number in range(1000):
        run(loop, worked.queue.add_after, number, 0.1)
    worked.all("bad")
    assert told()
    assert failures[-1][0] - failures[0][0] < 5


@pytest.mark.parametrize("when", ["while it is in work", "while it backs off"])
def test_news_of_what_failed_does_not_put_it_behind_all_that_is_new(loop: ManualLoop, when: str) -> None:
    worked = Worked(loop)

    async def handle(key: Any) -> None:
        worked.order.append(key)
        loop.now += 0.05
        if key == "bad":
            news = worked.order.count("bad") < 4
            if news and when == "while it is in work":
                worked.queue.add(key)
            worked.queue.failed(key)
            if news and when == "while it backs off":
                worked.queue.add(key)

    worked.handle = handle  # type: ignore[method-assign]
    order = worked.all("bad", *range(100))
    tries = [number for number, key in enumerate(order) if key == "bad"]
    assert tries[3] * 0.05 < 3, "the fourth failure is told, in the time of the back-off"


def test_an_edit_of_what_waits_already_comes_forward(loop: ManualLoop) -> None:
    worked = Worked(loop)

    async def handle(key: Any) -> None:
        worked.order.append(key)
        if worked.order == [0]:
            worked.queue.add(999, edited=True)
            worked.queue.add(0, edited=False)
            worked.queue.add(0, edited=True)

    worked.handle = handle  # type: ignore[method-assign]
    order = worked.all(*range(1000))
    assert order.index(999) <= 2 and order.count(999) == 1
    assert order[:5].count(0) > 1, "so does that of one that was in work"


class Held:
    """A queue whose keys are in work until they are let go."""

    def __init__(self, loop: ManualLoop, *, limit: int = 6, spare: int = 12) -> None:
        self.loop = loop
        self.queue: KeyedQueue[tuple[str, int]] = KeyedQueue(lambda key: (key[0],), limit=limit)
        self.begun: list[tuple[str, int]] = []
        self.working: dict[tuple[str, int], asyncio.Future[None]] = {}
        self.workers = [loop.create_task(self.queue.work(self._handle)) for _ in range(limit + spare)]
        loop.turn()

    async def _handle(self, key: tuple[str, int]) -> None:
        self.begun.append(key)
        done = self.working[key] = self.loop.create_future()
        await done
        del self.working[key]

    def add(self, lane: str, *numbers: int, edited: bool = False) -> None:
        for number in numbers:
            run(self.loop, partial(self.queue.add, edited=edited), (lane, number))

    def of(self, lane: str) -> list[tuple[str, int]]:
        return [key for key in self.working if key[0] == lane]

    def end_one(self, lane: str) -> None:
        self.working[self.of(lane)[0]].set_result(None)
        self.loop.turn(30)

    def close(self) -> None:
        for worker in self.workers:
            worker.cancel()
        self.loop.turn(30)


@pytest.fixture
def held(loop: ManualLoop) -> Any:
    it = Held(loop)
    yield it
    it.close()


def test_a_spare_worker_serves_only_who_has_none(loop: ManualLoop) -> None:
    held = Held(loop, limit=2, spare=2)
    held.add("a", 1, 2, 3, 4)
    assert held.begun == [("a", 1), ("a", 2)]
    held.add("b", 1)
    assert held.begun == [("a", 1), ("a", 2), ("b", 1)], "another lane waits for nobody"
    held.add("b", 2)
    assert held.begun == [("a", 1), ("a", 2), ("b", 1)]
    held.close()


def test_an_edit_may_begin_where_all_but_spare_workers_are_at_work(loop: ManualLoop) -> None:
    held = Held(loop, limit=2, spare=3)
    held.add("a", 1, 2, 3)
    held.add("a", 3, edited=True)
    assert held.begun == [("a", 1), ("a", 2), ("a", 3)]
    held.add("a", 4, edited=True)
    assert held.begun == [("a", 1), ("a", 2), ("a", 3)], "one of a lane"
    held.close()


def test_hundreds_of_edits_of_a_lane_take_no_spare_worker_but_one(held: Held) -> None:
    """Deletions are edits as well."""
    held.add("a", *range(20))
    held.add("b", *range(60), edited=True)
    held.add("c", 0)
    assert (len(held.of("a")), len(held.of("b")), len(held.of("c"))) == (6, 1, 1)
    held.add("a", *range(100, 140), edited=True)
    assert len(held.of("a")) == 7
    held.end_one("b")
    assert len(held.of("b")) == 1


def test_lanes_in_which_something_hangs_leave_the_limit_to_others(held: Held) -> None:
    for lane in "bcdefg":
        held.add(lane, 0)
    held.add("a", *range(100))
    assert len(held.of("a")) == 6


def test_what_comes_forward_does_not_come_later_for_it(loop: ManualLoop) -> None:
    """It has waited for something else already."""
    for first in ("due", "news"):
        held = Held(loop, limit=1, spare=0)
        held.add("a", -1)
        if first == "due":
            run(loop, held.queue.add_after, ("a", 1000), 0.1)
            loop.advance(1)
            held.add("a", *range(200))
            held.add("a", 1000)
        else:
            held.add("a", 1000)
            held.add("a", *range(200), edited=True)
            held.add("a", 1000, edited=True)
        held.end_one("a")
        held.end_one("a")
        assert ("a", 1000) in held.begun[:3], first
        held.close()


def test_news_while_it_fails_do_not_shorten_what_the_server_asks_for(loop: ManualLoop) -> None:
    held = Held(loop, limit=1, spare=0)
    held.add("a", 1)
    held.add("a", 1)
    run(loop, held.queue.failed, ("a", 1), 5.0)
    held.end_one("a")
    assert held.begun == [("a", 1)] and not held.working
    loop.advance(5.1)
    assert held.begun == [("a", 1)] * 2
    held.close()


def test_news_while_it_fails_are_not_put_off_for_minutes(loop: ManualLoop) -> None:
    """They may be what it has waited for."""
    held = Held(loop, limit=1, spare=0)
    held.add("a", 1)
    for _ in range(12):
        run(loop, held.queue.failed, ("a", 1))
    held.add("a", 1)
    run(loop, held.queue.failed, ("a", 1))
    held.end_one("a")
    assert held.begun == [("a", 1)] * 2
    held.close()


def test_who_edits_does_not_wait_behind_all_that_is_new(loop: ManualLoop) -> None:
    worked = Worked(loop)

    async def handle(key: Any) -> None:
        worked.order.append(key)
        if key == 0:
            worked.queue.add("edited", edited=True)

    worked.handle = handle  # type: ignore[method-assign]
    assert worked.all(*range(1000)).index("edited") <= 2


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

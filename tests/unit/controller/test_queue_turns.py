"""Whose turn it is: lanes, spare workers, edits, and failures that no status shows yet."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.queues import Held, ManualLoop, Worked, run

from qwen3_operator.controller.queue import LASTING_SECONDS


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
    """The status says why within seconds, however much there is to do."""
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
    """Each is reported then: among a thousand others, at 20 reconciles a second."""
    worked = Worked(loop)
    first: dict[int, float] = {}
    reported: dict[int, float] = {}

    async def handle(key: Any) -> None:
        loop.now += 0.05
        if key % 10 in (2, 5, 8) and key not in reported:
            failures = worked.queue.failed(key)[1]
            first.setdefault(key, loop.now)
            if failures >= 4 or (failures > 1 and worked.queue.failing(key) >= LASTING_SECONDS):
                reported[key] = loop.now
        else:
            worked.queue.succeeded(key)

    worked.handle = handle  # type: ignore[method-assign]
    worked.all(*range(1000))
    late = [reported.get(key, loop.now) - first[key] for key in first]
    assert len(first) == 300
    assert max(late) < 10


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6])
def test_until_it_is_reported_it_does_not_wait_behind_what_is_due(loop: ManualLoop, seconds: float) -> None:
    """However long each takes: three failures may come within two seconds, and the fourth after them."""
    worked = Worked(loop)
    failures: list[tuple[float, int]] = []

    async def handle(key: Any) -> None:
        loop.now += seconds
        if key == "bad" and not reported():
            failures.append((loop.now, worked.queue.failed(key)[1]))

    def reported() -> bool:
        last, count = failures[-1] if failures else (0.0, 0)
        return count >= 4 or (count > 1 and last - failures[0][0] >= LASTING_SECONDS)

    worked.handle = handle  # type: ignore[method-assign]
    for number in range(1000):
        run(loop, worked.queue.add_after, number, 0.1)
    worked.all("bad")
    assert reported()
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
    assert tries[3] * 0.05 < 3, "the fourth failure is reported, in the time of the back-off"


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

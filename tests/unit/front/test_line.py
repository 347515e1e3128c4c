"""The line in front of the servers: its order, its bounds, and how fast it lets go."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from qwen3_front import line
from qwen3_front.line import FIRST_WINDOW, Full, Limits, Line, Place, Room
from qwen3_front.table import Address

ONE, TWO = Address("10.0.0.1", 8000), Address("10.0.0.2", 8000)


@pytest.fixture(autouse=True)
def rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "REST_SECONDS", 0.01)


class Crowd:
    """Requests in a line, in the order in which they came."""

    def __init__(self, count: int, limits: Limits | None = None) -> None:
        self.line = Line(limits or Limits(), Room(1000))
        self.stack = ExitStack()
        self.places = [self.stack.enter_context(self.line.place(wakes=True)) for _ in range(count)]
        self.turns = [place.turn() for place in self.places]

    def let_go(self) -> list[int]:
        return [number for number, turn in enumerate(self.turns) if turn.done()]

    def again(self, number: int) -> None:
        self.places[number].refused()
        self.turns[number] = self.places[number].turn()


async def test_a_new_server_gets_a_few_and_then_twice_as_many() -> None:
    crowd = Crowd(20)
    assert crowd.let_go() == []
    crowd.line.set_servers([ONE])
    assert crowd.let_go() == list(range(FIRST_WINDOW))
    for place in crowd.places[:FIRST_WINDOW]:
        place.taken()
    assert crowd.let_go() == list(range(2 * FIRST_WINDOW))
    assert crowd.line.waiting == 20 - 2 * FIRST_WINDOW and crowd.line.forwarded == 2 * FIRST_WINDOW


async def test_no_server_gets_more_than_it_may() -> None:
    crowd = Crowd(20, Limits(per_server=6))
    crowd.line.set_servers([ONE])
    for _ in range(3):
        for number in crowd.let_go():
            crowd.places[number].taken()
    assert crowd.let_go() == list(range(6))


async def test_servers_have_like_shares() -> None:
    crowd = Crowd(6)
    crowd.line.set_servers([TWO, ONE])
    assert [turn.result() for turn in crowd.turns].count(ONE) == 3


async def test_who_was_refused_is_first_again_after_a_pause() -> None:
    crowd = Crowd(9)
    crowd.line.set_servers([ONE])
    crowd.again(0)
    crowd.again(1)
    assert crowd.places[0].before == 0 and crowd.places[1].before == 1 and crowd.places[4].before == 2
    assert crowd.let_go() == [2, 3], "the server rests"
    crowd.places[2].leave()
    await asyncio.sleep(0.05)
    assert crowd.let_go() == [0, 2, 3], "one place is free of a window of two"


async def test_a_server_that_went_gets_nobody_and_another_does() -> None:
    crowd = Crowd(8)
    crowd.line.set_servers([ONE])
    crowd.line.set_servers([])
    assert not crowd.line.has_servers
    crowd.again(0)
    crowd.line.set_servers([TWO])
    assert crowd.turns[0].result() == TWO and crowd.let_go() == [0, 1, 2, 3, 4, 5, 6]


async def test_who_leaves_makes_room() -> None:
    crowd = Crowd(5)
    with ExitStack() as leaving:
        place = leaving.enter_context(crowd.line.place(wakes=False))
        turn = place.turn()
        assert crowd.line.waiting == 6 and crowd.line.wakers == 5
    assert turn.cancelled() and crowd.line.waiting == 5
    crowd.line.set_servers([ONE])
    crowd.stack.close()
    assert crowd.line.empty and crowd.line.waiting == crowd.line.forwarded == 0


async def test_no_more_may_wait_than_the_line_has_room_for() -> None:
    crowd = Crowd(2, Limits(waiting=2))
    with pytest.raises(Full, match="2 requests wait"), crowd.line.place(wakes=True):
        pass
    crowd.line.set_servers([ONE])
    with crowd.line.place(wakes=True):
        assert crowd.line.waiting == 1


async def test_bytes_are_bounded_in_a_line_and_in_all() -> None:
    room = Room(150)
    lines = [Line(Limits(bytes=100), room) for _ in range(2)]

    def grown(of: Line, count: int) -> Place:
        place = stack.enter_context(of.place(wakes=True))
        place.grow(count)
        return place

    with ExitStack() as stack:
        first = grown(lines[0], 90)
        with pytest.raises(Full):
            grown(lines[0], 20)
        with pytest.raises(Full):
            grown(lines[1], 70)
        first.drop_body()
        grown(lines[1], 70)
        assert room.bytes == 70
    assert room.bytes == 0

"""The line of requests in front of one deployment's servers: bounded, first come first served, let go as they bear it.

A server that has just come begins with a few requests at the same time and gets one more for each that it takes, so
twice as many a round; where it refuses one it gets half, and a pause.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qwen3_front.table import Address

FIRST_WINDOW = 4
"""Requests that a server gets at first."""
REST_SECONDS = 1.0
"""A server that took no request gets none for so long."""


class Full(Exception):
    """No more may wait; the message says of what there is too much."""


@dataclass(frozen=True)
class Limits:
    """Of one line."""

    waiting: int = 1000
    bytes: int = 32 << 20
    per_server: int = 256


@dataclass
class Room:
    """What the bodies of all lines together may take."""

    most_bytes: int
    bytes: int = 0


class _Server:
    def __init__(self, address: Address, most: int) -> None:
        self.address, self._most = address, most
        self.running, self.resting = 0, False
        self.window = min(FIRST_WINDOW, most)

    @property
    def has_room(self) -> bool:
        return not self.resting and self.running < self.window

    def took_one(self) -> None:
        self.window = min(self.window + 1, self._most)

    def refused_one(self) -> None:
        self.window = max(1, self.window // 2)
        self.resting = True

    def rested(self) -> None:
        self.resting = False


class Place:
    """The place of one request, from its arrival to its end."""

    def __init__(self, line: Line, number: int, *, wakes: bool) -> None:
        self._line, self._number, self.wakes = line, number, wakes
        self._bytes = 0
        self._server: _Server | None = None
        self._turn: asyncio.Future[Address] | None = None

    def __lt__(self, other: Place) -> bool:
        return self._number < other._number

    @property
    def before(self) -> int:
        """How many are to be let go before this one."""
        return self._line.before(self)

    @property
    def waits(self) -> bool:
        """Whether it has no server."""
        return self._server is None

    def grow(self, count: int) -> None:
        """Take room for so many more bytes of the body. Raises Full."""
        self._line.take_bytes(count)
        self._bytes += count

    def drop_body(self) -> None:
        """The body is not kept any more."""
        self._line.give_bytes(self._bytes)
        self._bytes = 0

    def turn(self) -> asyncio.Future[Address]:
        """The server that takes it, once its turn has come."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
            self._line.queue(self)
        return self._turn

    def taken(self) -> None:
        """The server has taken it, and answers."""
        if self._server is not None:
            self._server.took_one()
            self._line.let_go()

    def refused(self) -> None:
        """The server did not take it: it waits again, where it stood."""
        self._line.rest(self._server)
        self._give_back()

    def _give_back(self) -> None:
        if self._server is not None:
            self._server.running -= 1
            self._server = None
        self._turn = None

    # For the line alone.
    def start(self, server: _Server) -> bool:
        """Its turn has come; False where nobody waits for it any more."""
        if self._turn is None or self._turn.done():
            return False
        self._server = server
        server.running += 1
        self._turn.set_result(server.address)
        return True

    def leave(self) -> None:
        """It is over."""
        if self._turn is not None:
            self._turn.cancel()
        self._give_back()
        self.drop_body()


class Line:
    """Requests of one deployment."""

    def __init__(self, limits: Limits, room: Room) -> None:
        self._limits, self._room = limits, room
        self._numbers = itertools.count()
        self._places: set[Place] = set()
        self._queue: list[Place] = []
        """Those whose turn has not come, by their number."""
        self._servers: dict[Address, _Server] = {}
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """Requests without a server."""
        return sum(place.waits for place in self._places)

    @property
    def forwarded(self) -> int:
        """Requests that are with a server."""
        return len(self._places) - self.waiting

    @property
    def wakers(self) -> int:
        """Requests without a server that are worth starting one for."""
        return sum(place.waits and place.wakes for place in self._places)

    @property
    def empty(self) -> bool:
        """Whether nobody is here."""
        return not self._places

    @property
    def has_servers(self) -> bool:
        """Whether a server is ready."""
        return bool(self._servers)

    @contextmanager
    def place(self, *, wakes: bool) -> Iterator[Place]:
        """A place for a request. Raises Full."""
        if self.waiting >= self._limits.waiting:
            raise Full(f"{self._limits.waiting} requests wait already")
        it = Place(self, next(self._numbers), wakes=wakes)
        self._places.add(it)
        try:
            yield it
        finally:
            self._places.discard(it)
            self._unqueue(it)
            it.leave()
            self.let_go()

    def set_servers(self, addresses: Iterable[Address]) -> None:
        """These are ready now."""
        self._servers = {it: self._servers.get(it) or _Server(it, self._limits.per_server) for it in sorted(addresses)}
        self.let_go()

    def let_go(self) -> None:
        """Give those who wait to servers that have room, the least busy first."""
        while self._queue:
            free = [it for it in self._servers.values() if it.has_room]
            if not free:
                return
            self._queue.pop(0).start(min(free, key=lambda it: it.running))

    # For places.
    def before(self, place: Place) -> int:
        return bisect_left(self._queue, place)

    def queue(self, place: Place) -> None:
        insort(self._queue, place)
        self.let_go()

    def take_bytes(self, count: int) -> None:
        if self._bytes + count > self._limits.bytes or self._room.bytes + count > self._room.most_bytes:
            raise Full("the requests that wait are too large together")
        self._bytes += count
        self._room.bytes += count

    def give_bytes(self, count: int) -> None:
        self._bytes -= count
        self._room.bytes -= count

    def rest(self, server: _Server | None) -> None:
        if server is None or server.resting:
            return
        server.refused_one()

        def go_on() -> None:
            server.rested()
            self.let_go()

        asyncio.get_running_loop().call_later(REST_SECONDS, go_on)

    def _unqueue(self, place: Place) -> None:
        at = bisect_left(self._queue, place)
        if at < len(self._queue) and self._queue[at] is place:
            del self._queue[at]

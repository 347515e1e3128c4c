"""Modelled links: connections that take their round trips to the first byte, and pieces that cost one each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qwen3_download.adapt import Adapt
from qwen3_download.pieces import Piece, Pieces

STEP = 0.02
TICK = 0.1


@dataclass
class Link:
    """`rate(connections)` bytes/s of each connection that receives. `trips`: to a new connection's first byte (TCP 1,
    TLS 1 or 2, the request 1, a redirect to another host as many again). `slow_start`: the rate begins at ten segments
    a round trip, and doubles with every one."""

    rate: Callable[[int], float]
    rtt: float = 0.0
    trips: int = 2
    slow_start: bool = False


@dataclass
class Connection:
    """One of the link; `opened` is when its first byte may come, None before it is asked for."""

    link: Link
    received: int = 0
    opened: float | None = None
    waits_until: float = 0.0
    left: float = 0.0
    piece: Piece | None = field(default=None)

    def ask(self, now: float, nbytes: float) -> None:
        self.left = nbytes
        if self.opened is None:
            self.opened = self.waits_until = now + self.link.trips * self.link.rtt
        else:
            self.waits_until = now + self.link.rtt

    def receiving(self, now: float) -> bool:
        return self.left > 0 and now >= self.waits_until

    def move(self, now: float, rate: float) -> None:
        if self.link.slow_start and self.link.rtt and self.opened is not None:
            doubled = min(20.0, (now - self.opened) / self.link.rtt)
            rate = min(rate, 14600 * 2**doubled / self.link.rtt)
        moved = min(self.left, rate * STEP)
        self.left -= moved
        self.received += int(moved)


def settle(link: Link, seconds: float = 20, maximum: int = 16, adapt: Adapt | None = None) -> list[int]:
    """Connections at every tick, of an endless download."""
    adapt = adapt or Adapt(maximum)
    connections = [Connection(link) for _ in range(maximum)]
    seen: list[int] = []
    for step in range(round(seconds / STEP)):
        now = step * STEP
        for connection in connections[: adapt.connections]:
            if connection.opened is None:
                connection.ask(now, float("inf"))
        receiving = [c for c in connections[: adapt.connections] if c.receiving(now)]
        for connection in receiving:
            connection.move(now, link.rate(len(receiving)))
        if step % round(TICK / STEP) == 0:
            adapt.tick(now, [c.received for c in connections])
            seen.append(adapt.connections)
    return seen


def seconds_to_fetch(link: Link, pieces: Pieces, maximum: int = 16) -> float:
    """Seconds until every piece has come, with as many connections and as long pieces as the program takes."""
    adapt, connections, now, step = Adapt(maximum), [Connection(link) for _ in range(maximum)], 0.0, 0
    while pieces.busy():
        for connection in connections[: adapt.connections]:
            if connection.left <= 0:
                if connection.piece:
                    pieces.done(connection.piece)
                connection.piece = pieces.take(adapt.connections, adapt.rate_each)
                if connection.piece:
                    connection.ask(now, connection.piece.end - connection.piece.start)
        receiving = [c for c in connections if c.receiving(now)]
        for connection in receiving:
            connection.move(now, link.rate(len(receiving)))
        for connection in connections:
            if connection.piece and connection.left <= 0:
                pieces.done(connection.piece)
                connection.piece = None
        if step % round(TICK / STEP) == 0:
            adapt.tick(now, [c.received for c in connections])
        step += 1
        now = step * STEP
    return now

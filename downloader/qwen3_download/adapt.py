"""How many connections: double while that makes the whole faster, step back when it does not. Pure."""

from __future__ import annotations

WINDOW = 0.3
SURE = 64 * 1024 * 1024
"""Bytes that are enough to judge by before the window's end."""
START = 1
_GAIN = 1.15
_PROBE_AGAIN = 30.0
BUSY = 0.5
"""Share of the machine's time: above it, the machine is what limits, and a connection a core is the least."""


class Adapt:
    """Fed with seconds, bytes received and CPU seconds so far; `connections` is the answer.

    A limit for each connection shows as a rate that doubles with their number. A limit of the link, of the hub, or of
    this machine shows as a rate that stays, and then fewer connections are the better neighbours.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self.connections = min(START, self.maximum)
        self.rate_each = 0.0
        self._best_rate = 0.0
        self._climbing = True
        self._since: tuple[float, int] | None = None
        self._cpu_then = 0.0
        self._hold_until = 0.0

    def tick(self, now: float, received: int, cpu_seconds: float = 0.0, cores: int = 1) -> None:
        """Call it a few times a second. `cpu_seconds`: what all processes have used so far, of `cores`."""
        if self._since is None:
            if received:  # before the first byte there is nothing to measure
                self._since, self._cpu_then = (now, received), cpu_seconds
            return
        seconds = now - self._since[0]
        moved = received - self._since[1]
        if seconds < WINDOW and moved < SURE:
            return
        rate = moved / seconds
        busy = (cpu_seconds - self._cpu_then) / (seconds * cores) > BUSY
        self._since, self._cpu_then = (now, received), cpu_seconds
        self.rate_each = rate / self.connections
        if self._climbing:
            self._climb(now, rate, least=cores if busy else 1)
        elif now >= self._hold_until:
            self._climbing, self._best_rate = True, rate
            self._more(now)

    def _climb(self, now: float, rate: float, least: int) -> None:
        if rate >= _GAIN * self._best_rate:
            self._best_rate = rate
            self._more(now)
        else:
            self.connections = min(self.maximum, max(least, self.connections // 2))
            self._hold(now)

    def _more(self, now: float) -> None:
        if self.connections == self.maximum:
            self._hold(now)
        else:
            self.connections = min(self.maximum, self.connections * 2)

    def _hold(self, now: float) -> None:
        self._climbing = False
        self._hold_until = now + _PROBE_AGAIN

"""How many connections: double while that makes the whole faster, step back when it does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

START = 4
"""As many as files are received at a time; a browser opens more to one host."""
WINDOW = 0.3
HOLD_WINDOW = 2.0
SURE = 64 * 1024 * 1024
"""Bytes that are enough to judge by before the window's end."""
LATE = 10.0
"""Seconds after which newcomers that have sent nothing are judged all the same."""
BUSY = 0.5
"""Share of the machine's time: above it the machine is what limits, and more connections than cores bring nothing."""
_GAIN = 1.15
_STILL_RISING = 1.1
_LONGEST_LATENCY = 4.0
_PROBE_AGAIN = (10.0, 60.0)


class Adapt:
    """Fed with seconds, the bytes of each connection and CPU seconds so far; `connections` is the answer.

    A limit for each connection shows as a rate that doubles with their number. A limit of the link, of the hub, or of
    this machine shows as a rate that stays, and then fewer connections are the better neighbours.

    A new connection takes several round trips to its first byte, and more to its full speed. So a step is judged only
    when every newcomer has sent, by windows of a round trip or more, when the rate has stopped rising; and a step that
    seems to bring nothing is measured twice, since all connections may have been between two pieces.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self.connections = min(START, self.maximum)
        self.rate_each = 0.0
        self._fewer = self.connections  # before the last step
        self._rate_of_fewer = 0.0
        self._asked: tuple[float, Sequence[int]] | None = None  # when the newcomers were, and what they had before
        self._latency = 0.0
        self._since: tuple[float, int, float] | None = None  # the window's begin: seconds, bytes, CPU seconds
        self._last_rate = 0.0
        self._doubted = False
        self._hold = _PROBE_AGAIN[0]
        self._hold_until: float | None = None

    def tick(self, now: float, received: Sequence[int], cpu_seconds: float = 0.0, cores: int = 1) -> None:
        """Call it a few times a second. `cpu_seconds`: what all processes have used so far, of `cores`."""
        total = sum(received)
        if self._asked is None:
            self._asked = now, (0,) * len(received)
        if self._since is None:
            if self._newcomers_sent(now, received):
                self._latency = min(now - self._asked[0], _LONGEST_LATENCY)
                self._since, self._last_rate = (now, total, cpu_seconds), 0.0
            return
        since, bytes_then, cpu_then = self._since
        seconds, moved = now - since, total - bytes_then
        if seconds < self._window() and moved < SURE:
            return
        self._since = now, total, cpu_seconds
        rate = moved / seconds
        self.rate_each = rate / self.connections
        crowded = self.connections >= cores and (cpu_seconds - cpu_then) / (seconds * cores) > BUSY
        if self._hold_until is None:
            self._judge(now, received, rate, crowded)
        elif now >= self._hold_until:
            self._more(now, received, rate, crowded)

    def _newcomers_sent(self, now: float, received: Sequence[int]) -> bool:
        """Whether every connection of the last step has, or has had its time."""
        assert self._asked
        asked_at, before = self._asked
        first = self._fewer if self._fewer < self.connections else 0
        newcomers = slice(first, self.connections)
        silent = any(has <= had for has, had in zip(received[newcomers], before[newcomers], strict=True))
        return not silent or (now - asked_at > LATE and sum(received) > sum(before))

    def _window(self) -> float:
        """A first byte takes two round trips at least."""
        return max(WINDOW if self._hold_until is None else HOLD_WINDOW, self._latency / 2)

    def _judge(self, now: float, received: Sequence[int], rate: float, crowded: bool) -> None:
        rising = rate > _STILL_RISING * self._last_rate
        self._last_rate = rate
        if rising:
            return
        if rate >= _GAIN * self._rate_of_fewer:
            self._hold = _PROBE_AGAIN[0]
            self._more(now, received, rate, crowded)
        elif not self._doubted:
            self._doubted = True
        else:
            self.connections = self._fewer
            self._wait(now)

    def _more(self, now: float, received: Sequence[int], rate: float, crowded: bool) -> None:
        if self.connections == self.maximum or crowded:
            self._wait(now)
            return
        self._fewer, self._rate_of_fewer = self.connections, rate
        self.connections = min(self.maximum, self.connections * 2)
        self._asked, self._since, self._hold_until = (now, tuple(received)), None, None
        self._doubted = False

    def _wait(self, now: float) -> None:
        self._hold_until = now + self._hold
        self._hold = min(2 * self._hold, _PROBE_AGAIN[1])

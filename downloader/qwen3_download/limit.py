"""The bandwidth limit of one run, shared by its connections."""

from __future__ import annotations

import threading
import time

_EACH = 1024 * 1024  # a connection for every MiB/s of the limit is enough


class Limit:
    """At most `rate` bytes/s in all."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, n: int) -> None:
        """Wait until `n` more bytes are allowed."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + n / self._rate
            wait = self._free_at - now
        if wait > 0.005:  # shorter sleeps cost more than they hold
            time.sleep(wait)

    @property
    def write_bytes(self) -> int:
        """How much to write at once, so that no connection sleeps long between two writes."""
        return max(16 * 1024, min(1024 * 1024, self._rate // 8))

    def connections(self, maximum: int) -> int:
        """How many connections make sense under this limit."""
        return max(1, min(maximum, self._rate // _EACH))

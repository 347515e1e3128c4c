"""Rate limits: a shared clock on which every byte books its time."""

from __future__ import annotations

import threading
import time

_CATCH_UP = 0.1  # seconds


class RateLimit:
    """`take(n)` returns after the time that n bytes need at `rate` bytes/s; shared between threads."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, n: int) -> None:
        with self._lock:
            now = time.monotonic()
            # A late sleeper may catch up a little, so that the mean is the rate also on a busy machine.
            self._free_at = max(self._free_at, now - _CATCH_UP) + n / self.rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)

    def piece(self) -> int:
        """Bytes to send at once: about 20 ms worth, so that the flow is even."""
        return max(1, min(256 * 1024, int(self.rate / 50)))

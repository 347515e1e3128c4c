"""When to try again and when to give up. Every byte that arrives renews the patience."""

from __future__ import annotations

import random
import threading
import time

from qwen3_download.answer import FetchError, Kind
from qwen3_download.errors import Failure, Reason

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STRIKES = 3  # for answers that a second try should mend
_MIN_RATE = 1024  # bytes/s over all connections; below, it counts as standing still


class Patience:
    """Shared by all connections of a transfer."""

    def __init__(self, give_up_after: float, where: str) -> None:
        self._give_up_after = give_up_after
        self._where = where
        self._lock = threading.Lock()
        self._moved_at = time.monotonic()
        self._moved_bytes = 0
        self._last = "no answer"

    def watch(self, received: int) -> None:
        """Note the bytes received so far. Raises Failure(HubUnavailable) after too long without progress."""
        with self._lock:
            now = time.monotonic()
            if received - self._moved_bytes >= _MIN_RATE * max(1.0, now - self._moved_at):
                self._moved_at, self._moved_bytes = now, received
            elif now - self._moved_at > self._give_up_after:
                raise Failure(
                    Reason.HUB_UNAVAILABLE,
                    f"no progress for {self._give_up_after:.0f} s with {self._where}; last: {self._last}",
                )

    def pause(self) -> None:
        """Time that was not the hub's to use (a paused process, a sleeping node) does not count."""
        with self._lock:
            self._moved_at = time.monotonic()

    def delay(self, error: FetchError, path: str, attempt: int, strikes: int, *, by_hub: bool) -> float:
        """Seconds to wait after the `attempt`-th failure in a row of one connection (from 1), of which `strikes` were
        like this one. Raises Failure where waiting is in vain: where the hub itself says no. Where the host of a
        redirect does, its address may have expired, or it does not like so many connections: the hub is asked again.
        """
        with self._lock:
            self._last = f"{path}: {error}"
        final = strikes >= STRIKES
        if final and error.kind is Kind.WRONG_FILE:
            raise Failure(Reason.INTEGRITY, f"{path} on {self._where}: {error}")
        final = final and by_hub
        if final and error.status in (401, 403):
            raise Failure(Reason.UNAUTHORIZED, f"{path} on {self._where} is refused: {error}")
        if final and error.status in (404, 410) and str(error).startswith(f"HTTP {error.status} {{"):
            raise Failure(Reason.INVALID_REPOSITORY, f"{path} is listed but not there on {self._where}: {error}")
        if error.kind in (Kind.RANGE_IGNORED, Kind.NETWORK) and attempt == 1:
            return 0.0  # a connection that broke off is opened again at once
        wait = float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 10)) * random.uniform(0.5, 1.0))
        return max(wait, min(error.retry_after or 0.0, 120.0))  # a hub that says "at once" says so to each connection

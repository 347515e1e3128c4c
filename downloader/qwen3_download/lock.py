"""One writer for a target: the bid for its lock file (bid.py) with the threads that keep it alive."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from qwen3_download import bid
from qwen3_download.bid import Bid
from qwen3_download.errors import Failure, Reason

_POLL = 0.5
_REPORT_EVERY = 10.0


class Lock:
    """Use `held()`. `waiting` is called with the owner's name while somebody else holds the lock."""

    def __init__(self, path: Path, stopped: threading.Event, waiting: Callable[[str], None]) -> None:
        self._path = path
        self._stopped = stopped
        self._waiting = waiting
        self._bid = Bid(path)
        self._ended = threading.Event()
        self.lost = threading.Event()

    @contextlib.contextmanager
    def held(self, wait: bool = True) -> Iterator[bool]:
        """Hold the lock; without `wait`, yields False when it is not to be had at once.

        Raises Failure(Stopped) when it is stopped while waiting.
        """
        if not self._acquire(wait):
            yield False
            return
        threads = [
            threading.Thread(target=target, name="lock", daemon=True) for target in (self._keep_beating, self._watch)
        ]
        for thread in threads:
            thread.start()
        try:
            yield True
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(2 * bid.BEAT)
            if not any(thread.is_alive() for thread in threads):  # or the server is away
                self._bid.release()

    def confirm(self) -> None:
        """Raises Failure(Stopped) when another process has taken the lock meanwhile."""
        if self.lost.is_set() or not self._bid.confirm():
            self._lose()
            raise Failure(Reason.STOPPED, f"another process took {self._path} over")

    def _acquire(self, wait: bool) -> bool:
        reported = -_REPORT_EVERY
        while not self._stopped.is_set():
            now = time.monotonic()
            if self._bid.try_take(now):
                return True
            if not self._bid.settling:
                if not wait:
                    return False
                if now - reported > _REPORT_EVERY:
                    reported = now
                    self._waiting(self._bid.holder)
            self._stopped.wait(_POLL)
        self._bid.release()
        raise Failure(Reason.STOPPED, f"stopped while another process held {self._path}")

    def _keep_beating(self) -> None:
        while not self._ended.wait(bid.BEAT):
            if not self._bid.beat(time.monotonic()):
                self._lose()
                return

    def _watch(self) -> None:
        """A beat to a server that is away may not return for hours."""
        while not self._ended.wait(bid.BEAT):
            if self._bid.expired(time.monotonic()):
                self._lose()
                return

    def _lose(self) -> None:
        self.lost.set()
        self._stopped.set()

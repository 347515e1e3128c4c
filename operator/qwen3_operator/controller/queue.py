"""A keyed work queue, after client-go's: no key twice in the queue, never two workers on one key, failures back off."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LAST_DELAY = 300.0


class KeyedQueue(Generic[K]):
    """Keys to look at. `add` folds what is already waiting; a key that is being worked on is looked at again after.

    Keys of a lower `rank` go first, those of the same in the order in which they came.
    """

    def __init__(self, rank: Callable[[K], int] = lambda key: 0) -> None:
        self._ready: asyncio.PriorityQueue[tuple[int, int, K]] = asyncio.PriorityQueue()
        self._rank = rank
        self._number = itertools.count()
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Keys that are being worked on."""
        return len(self._active)

    def add(self, key: K) -> None:
        """Look at `key` as soon as a worker is free."""
        if key in self._waiting:
            return
        self._cancel_timer(key)
        self._waiting.add(key)
        if key not in self._active:
            self._put(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Look at `key` in `seconds`, unless it is looked at before."""
        if key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    def succeeded(self, key: K) -> None:
        """The last look at `key` went well."""
        self._failures.pop(key, None)

    def failed(self, key: K) -> tuple[float, int]:
        """The last look at `key` failed: look again with exponential back-off. Returns (seconds, failures in a row)."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16)) * random.uniform(0.75, 1.25)
        self.add_after(key, delay)
        return delay, failures

    async def work(self, handle: Callable[[K], Awaitable[None]]) -> None:
        """Be one worker: take keys and `handle` them, for ever. `handle` must not raise."""
        while True:
            _, _, key = await self._ready.get()
            self._waiting.discard(key)
            self._active.add(key)
            try:
                await handle(key)
            finally:
                self._active.discard(key)
                if key in self._waiting:
                    self._put(key)

    def _put(self, key: K) -> None:
        self._ready.put_nowait((self._rank(key), next(self._number), key))

    def _cancel_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

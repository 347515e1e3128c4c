"""A keyed work queue, after client-go's: no key twice in the queue, never two workers on one key, failures back off.

It is fair as well: keys have lanes (a path of names, like kind and namespace), and at each step of the path those that
have keys take turns, so nobody waits for all that another asks for. As long as there are spare workers, a lane that has
no key in work may always begin one, and one edit beside what it has in work: somebody waits for that.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Lane = tuple[Hashable, ...]

log = logging.getLogger(__name__)

FIRST_DELAY = 0.2
LAST_DELAY = 300.0
LASTING_FAILURES, LASTING_SECONDS = 4, 2.0
"""Failures in a row after which a person is to know of it: 1.4 s of back-off. Where so much else waits that it took
longer than these seconds, the second is enough. Until then a key does not wait behind all that waits in its lane: soon
it works, or its status says why it does not."""
TROUBLE_PATIENCE = 120.0
"""Seconds for which a key in trouble is tried as often as it asks."""
TROUBLE_GROWTH = 0.25
"""After that the delay grows by so much of every further second in trouble."""


@dataclass(frozen=True)
class Requeue:
    """Reconcile again in `after` seconds. `trouble`: something is in the way, and no event will say when it is gone;
    the longer that lasts, the less often it is tried, but not later than `by` seconds from now."""

    after: float
    trouble: bool = False
    by: float = math.inf


class _Why(IntEnum):
    """Why a key waits; of two reasons the earlier here counts. In a lane these take turns, too."""

    EDIT = 1
    """What it is to be was changed, and it is there already."""
    RETRY = 2
    """It failed a moment ago, and its status does not say so yet."""
    NEWS = 3
    """Something happened."""
    DUE = 4
    """The time has come that was asked for."""


class KeyedQueue(Generic[K]):
    """Keys to reconcile. `add` folds what is already waiting; a key that is in work is reconciled again after.

    `limit`: keys in work at the same time (None: as many as there are workers). Workers beyond it are spare: they are
    for lanes that have none. So the first key of each lane but one does not count, as long as they last: what hangs in
    some lanes leaves the limit to the others.
    """

    def __init__(self, lane: Callable[[K], Lane] = lambda key: (), *, limit: int | None = None) -> None:
        self._lane, self._limit = lane, limit
        self._turns: _Turns[K] = _Turns()
        self._waiting: dict[K, _Why] = {}
        """Keys that wait; those in work that are to be reconciled again after are among them."""
        self._active: dict[K, float] = {}
        """Keys in work, and since when."""
        self._edits: set[K] = set()
        """Those of them that were begun as edits."""
        self._busy: Counter[Lane] = Counter()
        """Keys in work of each lane that has any."""
        self._editing: Counter[Lane] = Counter()
        """Those of them that were begun as edits."""
        self._untouched: OrderedDict[Lane, None] = OrderedDict()
        """Lanes, and edits of lanes, that have keys that wait and none in work: first who has waited longest."""
        self._idle: deque[asyncio.Future[None]] = deque()
        self._failures: dict[K, int] = {}
        """Failures in a row."""
        self._failing: dict[K, float] = {}
        """When the first of them was."""
        self._soon: set[K] = set()
        """Those of them that are to be tried again before all that waits in their lanes."""
        self._trouble: dict[K, float] = {}
        """Keys in trouble, and since when."""
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._moved = 0.0
        """When a key was last taken, or began to wait for a worker while no other did."""
        self.workers = 0
        """Workers that are alive."""

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Keys that are in work."""
        return len(self._active)

    @property
    def longest(self) -> float:
        """Seconds for which the oldest key in work has been there; 0 where none is."""
        return _now() - min(self._active.values()) if self._active else 0.0

    @property
    def stuck(self) -> float:
        """Seconds for which keys have waited and no worker took one."""
        return _now() - self._moved if self._turns else 0.0

    def add(self, key: K, *, edited: bool = False) -> None:
        """There is news of `key`: reconcile it as soon as a worker is free. `edited`: somebody has changed what it is
        to be, and waits for it: not behind all that is new in its lane."""
        self._trouble.pop(key, None)
        self._wait(key, _Why.EDIT if edited else _Why.NEWS)

    def add_after(self, key: K, seconds: float) -> None:
        """Reconcile `key` in `seconds`, unless that happens before."""
        if key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self._wait, key, _Why.DUE)

    def succeeded(self, key: K, again: Requeue | float | None = None) -> None:
        """The last reconcile of `key` went well. `again`: when to have the next; seconds stand for Requeue(seconds)."""
        self._failures.pop(key, None)
        self._failing.pop(key, None)
        self._soon.discard(key)
        if isinstance(again, Requeue) and again.trouble:
            since = self._trouble.setdefault(key, _now())
            late = (_now() - since - TROUBLE_PATIENCE) * TROUBLE_GROWTH
            # Never later than asked for while a person may be waiting for it.
            delay = min(LAST_DELAY, max(again.after, late)) * random.uniform(0.75, 1.0)
            self.add_after(key, min(again.by, delay))
            return
        self._trouble.pop(key, None)
        if again is not None:
            self.add_after(key, again.after if isinstance(again, Requeue) else again)

    def failed(self, key: K, at_least: float = 0.0) -> tuple[float, int]:
        """The last reconcile of `key` failed: again with exponential back-off, in `at_least` so many seconds. Returns
        (seconds, failures in a row)."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._failing.setdefault(key, _now())
        delay = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16)) * random.uniform(0.75, 1.25)
        delay = max(delay, at_least)
        if failures >= LASTING_FAILURES or (failures > 1 and self.failing(key) >= LASTING_SECONDS):
            self._soon.discard(key)
        else:
            self._soon.add(key)
        news = key in self._active and self._waiting.get(key, _Why.EDIT) is not _Why.EDIT
        if news and (at_least or key in self._soon):
            del self._waiting[key]  # the next try is soon, and sees the news as well
        self.add_after(key, delay)
        return delay, failures

    def failing(self, key: K) -> float:
        """Seconds since the first failure in a row; 0 where the last reconcile went well."""
        return _now() - self._failing[key] if key in self._failing else 0.0

    def lasts(self, key: K) -> bool:
        """Whether its failures in a row are more than a moment's."""
        return key in self._failures and key not in self._soon

    async def work(self, handle: Callable[[K], Awaitable[None]]) -> None:
        """Be one worker: take keys and `handle` them, for ever. What `handle` raises counts as a failure of its key;
        only what is no Exception (and the worker's own cancellation) ends the worker."""
        self.workers += 1
        try:
            while True:
                await asyncio.sleep(0)  # a handler that waits for nothing must not keep the loop to itself
                key = await self._next()
                try:
                    await handle(key)
                except asyncio.CancelledError as error:
                    if (task := asyncio.current_task()) is None or task.cancelling():
                        raise
                    self._survive(key, error)  # something that it waited for was cancelled, not this worker
                except Exception as error:
                    self._survive(key, error)
                finally:
                    self._done(key)
        finally:
            self.workers -= 1

    def _survive(self, key: K, error: BaseException) -> None:
        delay, _ = self.failed(key)
        log.error("%s: not handled; again in %.1f s", key, delay, exc_info=error)

    async def _next(self) -> K:
        while (lane := self._startable()) is None:
            free = asyncio.get_running_loop().create_future()
            self._idle.append(free)
            await free
        key = self._turns.take(lane)
        if self._waiting.pop(key) is _Why.EDIT:
            self._edits.add(key)
        self._active[key] = self._moved = _now()
        self._count(key, 1)
        self._wake()  # the end of a key may have made room for two: this one, and one for a spare worker
        return key

    def _startable(self) -> Lane | None:
        """Where a worker may take a key now: the path that it is under, () for whose turn it is; None: nowhere."""
        if self._turns and (self._limit is None or self._counted() < self._limit):
            return ()
        return next(iter(self._untouched), None)

    def _done(self, key: K) -> None:
        del self._active[key]
        self._count(key, -1)
        self._edits.discard(key)
        if key in self._waiting:
            self._put(key)

    def _counted(self) -> int:
        """Keys in work that count against the limit."""
        spare = max(0, self.workers - (self._limit or 0))
        return len(self._active) - min(spare, max(0, len(self._busy) - 1))

    def _count(self, key: K, more: int) -> None:
        """`key` is in work now (1), or no more (-1)."""
        lane = self._lane(key)
        for counter in (self._busy, self._editing) if key in self._edits else (self._busy,):
            counter[lane] += more
            if not counter[lane]:
                del counter[lane]
        self._update_untouched(lane)

    def _update_untouched(self, lane: Lane) -> None:
        """Whether a lane, and its edits, are untouched, after one of its keys has come or gone."""
        for path, in_work in ((lane, self._busy), ((*lane, _Why.EDIT), self._editing)):
            if self._turns.has(path) and not in_work[lane]:
                self._untouched.setdefault(path)
            else:
                self._untouched.pop(path, None)

    def _wait(self, key: K, why: _Why) -> None:
        self._cancel_timer(key)
        if key in self._soon:
            why = min(why, _Why.RETRY)
        before = self._waiting.get(key)
        if before is None:
            self._waiting[key] = why
        elif why < before and why <= _Why.RETRY:  # somebody waits for it
            self._waiting[key] = why
            if key not in self._active:
                self._turns.remove((*self._lane(key), before), key)
        else:
            return
        if key not in self._active:
            self._put(key, first=before is not None)

    def _put(self, key: K, *, first: bool = False) -> None:
        """`first`: it has waited for something else already."""
        lane = self._lane(key)
        if not self._turns:
            self._moved = _now()
        self._turns.put((*lane, self._waiting[key]), key, first=first)
        self._update_untouched(lane)
        self._wake()

    def _wake(self) -> None:
        """Have an idle worker take a key, if it may."""
        while self._idle and self._startable() is not None:
            free = self._idle.popleft()
            if not free.done():
                free.set_result(None)
                return

    def _cancel_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()


class _Turns(Generic[K]):
    """Keys under paths of names. At each step of a path, the names that have keys take turns. Nothing here depends on
    how many there are."""

    def __init__(self) -> None:
        self._keys: OrderedDict[K, None] = OrderedDict()
        self._parts: OrderedDict[Hashable, _Turns[K]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._keys or self._parts)

    def put(self, path: Sequence[Hashable], key: K, *, first: bool = False) -> None:
        """`key` waits under `path`, after those that wait there, or before them."""
        if not path:
            self._keys[key] = None
            self._keys.move_to_end(key, last=not first)
            return
        if path[0] not in self._parts:
            self._parts[path[0]] = _Turns()
        self._parts[path[0]].put(path[1:], key, first=first)

    def take(self, path: Sequence[Hashable] = ()) -> K:
        """The key whose turn it is under `path`. Raises LookupError where there is none."""
        if not path and self._keys:
            return self._keys.popitem(last=False)[0]
        name = path[0] if path else next(iter(self._parts), None)
        part = self._parts[name]
        key = part.take(path[1:])
        if part:
            self._parts.move_to_end(name)
        else:
            del self._parts[name]
        return key

    def remove(self, path: Sequence[Hashable], key: K) -> None:
        """`key` does not wait under `path` any more. Raises LookupError where it did not."""
        if not path:
            del self._keys[key]
            return
        part = self._parts[path[0]]
        part.remove(path[1:], key)
        if not part:
            del self._parts[path[0]]

    def has(self, path: Sequence[Hashable]) -> bool:
        """Whether a key waits under `path`."""
        if not path:
            return bool(self)
        return path[0] in self._parts and self._parts[path[0]].has(path[1:])


def _now() -> float:
    return asyncio.get_running_loop().time()

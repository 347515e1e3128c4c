"""Queues whose clock and workers a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from qwen3_operator.controller.queue import KeyedQueue


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def turn(self, times: int = 5) -> None:
        """Let everything that is ready run."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds
        self.turn()


def run(loop: ManualLoop, action: Callable[..., Any], *args: Any) -> Any:
    """The result of `action`, called inside the loop."""
    results: list[Any] = []
    loop.call_soon(lambda: results.append(action(*args)))
    loop.turn()
    return results[0]


class Worked:
    """A queue with one worker, which does what `handle` says; `order` is what it worked on."""

    def __init__(self, loop: ManualLoop, lane: Callable[[Any], tuple[Any, ...]] = lambda key: ()) -> None:
        self.loop, self.order = loop, []  # type: tuple[ManualLoop, list[Any]]
        self.queue: KeyedQueue[Any] = KeyedQueue(lane)

    async def handle(self, key: Any) -> None:
        self.order.append(key)

    def all(self, *keys: Any) -> list[Any]:
        """Add `keys` at one moment, and work until nothing waits: the order."""

        def add() -> None:
            for key in keys:
                self.queue.add(key)

        worker = self.loop.create_task(self.queue.work(self.handle))
        self.loop.call_soon(add)
        self.loop.turn()
        while len(self.queue):
            self.loop.turn()
        worker.cancel()
        self.loop.turn()
        return self.order


class Held:
    """A queue whose keys are in work until they are let go."""

    def __init__(self, loop: ManualLoop, *, limit: int = 6, spare: int = 12) -> None:
        self.loop = loop
        self.queue: KeyedQueue[tuple[str, int]] = KeyedQueue(lambda key: (key[0],), limit=limit)
        self.begun: list[tuple[str, int]] = []
        self.working: dict[tuple[str, int], asyncio.Future[None]] = {}
        self.workers = [loop.create_task(self.queue.work(self._handle)) for _ in range(limit + spare)]
        loop.turn()

    async def _handle(self, key: tuple[str, int]) -> None:
        self.begun.append(key)
        done = self.working[key] = self.loop.create_future()
        await done
        del self.working[key]

    def add(self, lane: str, *numbers: int, edited: bool = False) -> None:
        for number in numbers:
            run(self.loop, partial(self.queue.add, edited=edited), (lane, number))

    def of(self, lane: str) -> list[tuple[str, int]]:
        return [key for key in self.working if key[0] == lane]

    def end_one(self, lane: str) -> None:
        self.working[self.of(lane)[0]].set_result(None)
        self.loop.turn(30)

    def close(self) -> None:
        for worker in self.workers:
            worker.cancel()
        self.loop.turn(30)

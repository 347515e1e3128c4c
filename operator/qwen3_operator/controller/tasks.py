"""Tasks that run beside a body and have no end of their own: when one ends, all end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)


class TaskEnded(Exception):
    """A task returned that ought to run for ever."""


class Tasks:
    """`start` tasks in an `async with`. The first that ends, by return or exception, cancels the others at once and
    calls `at_end`, which is to end the body; what it raised (or TaskEnded) is raised after the body.

    Not asyncio.TaskGroup: that cancels the body, and a framework that is cancelled gives up its orderly end.
    """

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self.failure: BaseException | None = None
        """Why all were ended; None as long as they run, or when the body ended first."""

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `coroutine`, called `name` in the log."""
        task = asyncio.create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def cancel(self) -> None:
        """End all tasks, for the body has come to its end."""
        self._closing = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        await self.cancel()
        if self.failure is not None and self.failure is not error:
            raise self.failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._closing:
            if error is not None:
                log.warning("the task %s failed while it was ended: %r", task.get_name(), error)
            return
        self._closing = True
        how = "was cancelled" if task.cancelled() else "returned" if error is None else f"failed: {error!r}"
        self.failure = error or TaskEnded(f"the task {task.get_name()} {how}, and it ought to run for ever")
        log.critical("the task %s %s; the process ends", task.get_name(), how)
        for other in self._running:
            other.cancel()
        self._at_end()

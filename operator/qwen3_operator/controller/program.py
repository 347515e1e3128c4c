"""A program from its start to its exit code: its memory and its event loop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""
_LARGE = 128 * 1024
_COLLECTED_AFTER = (5_000, 10, 10)
"""New objects before a collection, and collections of a younger generation for one of the next: gc.set_threshold()."""


def run_to_its_end(
    name: str, work: Callable[[], Coroutine[Any, Any, None]], log: logging.Logger, known: tuple[type[Exception], ...]
) -> int:
    """Run `work`; returns the exit code. Errors that are `known` say all in their words; any other is a fault of the
    program itself, which logs where."""
    give_back_memory()
    collect_less()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    except known as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.critical("the %s ends by a fault of its own", name, exc_info=True)
        return 1
    return 0


def collect_less() -> None:
    """Have Python's garbage collector skip what was imported, and run less often.

    What was imported (a hundred thousand objects) stays. Collecting it held up the event loop for a quarter of a second
    at a time, and was a quarter of the operator's CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


def give_back_memory() -> None:
    """Have large pieces of memory given back to the system once they are free.

    glibc does so at first, and ceases with the first one that comes back: the buffers of TLS connections then lie
    between what stays, and most of what a burst took is never given back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library may have none, or do nothing
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)

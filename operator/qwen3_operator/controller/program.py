"""The event loop of a program, from its start to its exit code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop


def run_to_its_end(
    name: str, work: Callable[[], Coroutine[Any, Any, None]], log: logging.Logger, known: tuple[type[Exception], ...]
) -> int:
    """Run `work`; returns the exit code. Errors that are `known` say all in their words; any other is a fault of the
    program itself, which logs where."""
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

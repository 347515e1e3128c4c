"""Ask the hub for a listing, patiently, and still stop at once on a signal."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from qwen3_download.errors import PASSING, Failure, Reason
from qwen3_download.hub import Hub
from qwen3_download.listing import Listing
from qwen3_download.progress import Progress

_DELAYS = (2.0, 5.0, 10.0, 20.0, 30.0)


def resolve(hub: Hub, revision: str, give_up_after: float, progress: Progress, stopped: threading.Event) -> Listing:
    """`hub.resolve`, again and again for `give_up_after` seconds while the hub does not answer. Raises Failure."""
    until, attempt = time.monotonic() + give_up_after, 0
    while True:
        try:
            return resolve_once(hub, revision, stopped)
        except Failure as failure:
            wait = _DELAYS[min(attempt, len(_DELAYS) - 1)]
            attempt += 1
            if failure.reason not in PASSING or time.monotonic() + wait > until:
                raise
            progress.event("retry", f"{failure}; again in {wait:.0f} s", message=str(failure), seconds=wait)
            if stopped.wait(wait):
                raise Failure(Reason.STOPPED, "stopped before the listing") from failure


def resolve_once(hub: Hub, revision: str, stopped: threading.Event) -> Listing:
    """`hub.resolve` in a thread, because the client cannot be interrupted while it waits. Raises Failure."""
    answer: Future[Listing] = Future()

    def ask() -> None:
        try:
            answer.set_result(hub.resolve(revision))
        except BaseException as failure:
            answer.set_exception(failure)

    threading.Thread(target=ask, name="listing", daemon=True).start()
    while not stopped.is_set():
        try:
            return answer.result(timeout=0.2)
        except FutureTimeout:
            continue
    raise Failure(Reason.STOPPED, "stopped before the listing")

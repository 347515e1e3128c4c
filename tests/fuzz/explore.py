"""Run many drawn sequences, some at once, and count what came of each: what was not compared has proved nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

COMPARED = "compared in full"
"""What a check returns that has compared everything; any other word says why it has not."""


def explore(check: Callable[[T], str], drawn: Iterable[T], *, asked: int, at_once: int) -> Counter[str]:
    """`check` what is drawn until `asked` of it was compared in full; how many came to which end.

    Raises AssertionError where a check failed, and where too few were compared.
    """
    ends: Counter[str] = Counter()
    failed: list[str] = []
    waiting, lock = iter(enumerate(drawn)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, it = next(waiting, (-1, None)) if ends[COMPARED] < asked and not failed else (-1, None)
            if it is None:
                return
            try:
                end = check(it)
            except Exception as error:
                failed.append(f"--- sequence {number}: {type(error).__name__}: {error}")
                return
            with lock:
                ends[end] += 1

    with ThreadPoolExecutor(at_once) as pool:
        workers = [pool.submit(work) for _ in range(at_once)]
        try:
            for worker in workers:
                worker.result()
        except KeyboardInterrupt:
            failed.append("interrupted")  # nothing new is begun
            raise
    assert not failed, "\n".join(failed)
    assert ends[COMPARED] >= asked, f"{ends[COMPARED]} compared in full, {asked} asked for: {dict(ends)}"
    return ends

"""Writes finished lines to the volume, beside everything else that goes on."""

from __future__ import annotations

import queue
import threading

from qwen3_in_engine.batch_runner.contract import AGAIN, Stop
from qwen3_in_engine.batch_runner.store import Store


class Writer:
    """Writes finished lines in a thread of its own: the engine does not wait for the volume, and all that is
    finished while one write is synced goes with the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._error: Stop | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all is on the volume. Raises what kept it from there."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def put(self, index: int, line: str) -> None:
        """Hand over a line. Raises Stop where the volume took no more."""
        if self._error:
            raise self._error
        self._queue.put((index, line))

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            try:
                if self._error is None and (records := [item for item in batch if item is not None]):
                    self._store.append(records)
            except Stop as stop:
                self._error = stop
            except Exception as error:  # the thread must not end unseen
                self._error = Stop(AGAIN, "RunnerFailed", f"{type(error).__name__}: {error}")

"""How far the download is: one line every two seconds, for people or as JSON for the operator."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from qwen3_download.local import Mask

INTERVAL = 2.0
_WINDOW = 10.0


@dataclass(frozen=True)
class Snapshot:
    """Bytes and files done and to do, of the files this run wants."""

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int


class Progress:
    """Writes events to stdout, without secrets. With `as_json` each is one JSON object with a field `event`."""

    def __init__(self, as_json: bool, mask: Mask | None = None) -> None:
        self._json = as_json
        self._mask = mask or Mask()
        self._lock = threading.Lock()

    def event(self, name: str, text: str, **fields: Any) -> None:
        """`text` for people, `fields` for programs."""
        shown = {"event": name, **self._mask.value(fields)}
        line = json.dumps(shown, ensure_ascii=False) if self._json else self._mask.text(text)
        line = line.encode("utf-8", "replace").decode()  # half a character, of JSON or of a file's name
        with self._lock:
            print(line, file=sys.stdout, flush=True)

    @contextlib.contextmanager
    def following(self, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Report beside the body."""
        ended = threading.Event()
        reporter = threading.Thread(target=self._follow, args=(snapshot, ended), name="progress")
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join()

    def _follow(self, snapshot: Callable[[], Snapshot], ended: threading.Event) -> None:
        seen: deque[tuple[float, int]] = deque()
        while True:
            now, state = time.monotonic(), snapshot()
            seen.append((now, state.bytes_done))
            while seen[0][0] < now - _WINDOW:
                seen.popleft()
            rate = mean_rate(seen[0], seen[-1])
            if len(seen) > 1:
                self._report(state, rate)
            if ended.wait(INTERVAL):
                return

    def _report(self, state: Snapshot, rate: int) -> None:
        left = state.bytes_total - state.bytes_done
        eta = round(left / rate) if rate else None
        percent = 100 * state.bytes_done / state.bytes_total if state.bytes_total else 100.0
        self.event(
            "progress",
            f"{percent:5.1f} %  {human(state.bytes_done)} of {human(state.bytes_total)}  {human(rate)}/s  "
            f"{state.files_done} of {state.files_total} files  "
            + (f"{clock(eta)} left" if eta is not None else "waiting"),
            bytesDone=state.bytes_done,
            bytesTotal=state.bytes_total,
            bytesPerSecond=rate,
            etaSeconds=eta,
            filesDone=state.files_done,
            filesTotal=state.files_total,
        )


def mean_rate(first: tuple[float, int], last: tuple[float, int]) -> int:
    """Bytes/s between two (seconds, bytes) points; never negative."""
    seconds = last[0] - first[0]
    return max(0, round((last[1] - first[1]) / seconds)) if seconds > 0 else 0


def human(n: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"


def clock(seconds: int) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"

"""Which bytes to ask for next: pieces sized so that every connection is busy to the end. Pure bookkeeping."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from qwen3_download.partial import BLOCK, PartialFile

PIECE_SECONDS = 8.0
"""Between two pieces a connection is idle for a round trip."""
LONE_PIECE = 16 * 1024 * 1024
"""The least where there is one connection."""
IN_FLIGHT = 256 * 1024 * 1024
"""Bytes of all pieces that are out: what comes out of order is hashed while it still is in memory."""
AT_ONCE = 4
"""Files that are fetched and verified at the same time."""


@dataclass(frozen=True)
class Piece:
    """Bytes [start, end) of one file. `whole`: the hub ignores ranges, so only one such piece may be out at a time.

    `home` is the process that got the file's first piece: the one that hashes it.
    """

    file: PartialFile
    start: int
    end: int
    whole: bool = False
    home: int = 0


class Pieces:
    """Hands out missing ranges, file after file; the ends of pieces lie on block boundaries."""

    def __init__(self, files: Sequence[PartialFile]) -> None:
        self._lock = threading.Lock()
        self._todo: list[tuple[PartialFile, list[tuple[int, int]]]] = []
        self._out: dict[PartialFile, int] = {}
        self._home: dict[PartialFile, int] = {}
        self._whole: set[PartialFile] = set()
        self._remaining = 0
        for file in files:
            self._add(file)

    def _add(self, file: PartialFile) -> None:
        ranges = file.missing()
        if ranges:
            self._todo.append((file, ranges))
            self._remaining += sum(end - start for start, end in ranges)

    def add(self, file: PartialFile) -> None:
        """Queue (again) what is missing of a file that has no piece out."""
        with self._lock:
            self._add(file)

    def remaining(self) -> int:
        """Bytes that nobody has taken yet."""
        with self._lock:
            return self._remaining

    def take(self, connections: int, bytes_per_second: float, process: int = 0) -> Piece | None:
        """The next piece for one of `connections`, each of which moves `bytes_per_second` (0: not known yet)."""
        with self._lock:
            for file, ranges in self._order(process):
                whole = file in self._whole
                if whole and self._out.get(file):
                    continue
                start, end = ranges[0]
                if not whole:
                    last = start + self._length(connections, bytes_per_second)
                    end = min(end, -(-last // BLOCK) * BLOCK)
                self._remaining -= end - start
                self._out[file] = self._out.get(file, 0) + 1
                if end < ranges[0][1]:
                    ranges[0] = (end, ranges[0][1])
                else:
                    ranges.pop(0)
                if not ranges:
                    self._todo.remove((file, ranges))
                return Piece(file, start, end, whole, self._home.setdefault(file, process))
            return None

    def _length(self, connections: int, bytes_per_second: float) -> int:
        wanted = int(bytes_per_second * PIECE_SECONDS)
        if connections == 1:  # nobody to share with
            return min(max(wanted, LONE_PIECE), IN_FLIGHT)
        share = self._remaining // (2 * connections)
        return max(BLOCK, min(wanted, share, IN_FLIGHT // connections))

    def _order(self, process: int) -> Iterator[tuple[PartialFile, list[tuple[int, int]]]]:
        """Of the first few files those with the fewest connections first: a file that one connection fetches in turn is
        hashed on its way. Else those of the own process. Of more files the bytes would have left the page cache."""

        def key(todo: tuple[PartialFile, list[tuple[int, int]]]) -> tuple[int, bool]:
            return self._out.get(todo[0], 0), self._home.get(todo[0], process) != process

        yield from sorted(self._todo[:AT_ONCE], key=key)
        yield from islice(self._todo, AT_ONCE, None)

    def home(self, file: PartialFile) -> int:
        """The process that got its first piece."""
        with self._lock:
            return self._home.get(file, 0)

    def done(self, piece: Piece) -> None:
        """Give a finished piece back."""
        with self._lock:
            self._out[piece.file] -= 1

    def busy(self) -> bool:
        """Whether bytes are still to be fetched."""
        with self._lock:
            return bool(self._todo) or any(self._out.values())

    def ignores_ranges(self, file: PartialFile) -> None:
        """Ask for this file in one stream from now on."""
        with self._lock:
            self._whole.add(file)

"""The input file, read once: its hash, its number of lines, and the lines of one shard.

It is read while the engine loads. A shard's own lines are kept in memory; those for which there is no room are found
again by where they begin, when their turn comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qwen3_in_engine.batch_runner.contract import AGAIN, BAD_INPUT, Stop
from qwen3_in_engine.batch_runner.volume import stop_of

MOST_KEPT = 256 << 20
"""Bytes of memory for lines that are kept."""
_POINTER = 8


@dataclass(frozen=True)
class Summary:
    """What a file is: its lines, and the hash of its bytes."""

    lines: int
    sha256: str


class Source:
    """The input as one shard sees it: its lines are those with index modulo `shards` == `shard`."""

    def __init__(self, path: Path, shard: int, shards: int) -> None:
        self.path, self.shard, self.shards = path, shard, shards
        self._begins = array("Q")
        self._kept: list[bytes] = []
        """The first lines of the shard."""
        self._file: BinaryIO | None = None
        self.closed = False
        """Set to have `read` end in the middle."""

    def __len__(self) -> int:
        """Lines of this shard, once the file is read."""
        return len(self._begins)

    def read(self, seen: Callable[[int, bytes], None]) -> Summary:
        """Read the whole file, and show each line of the shard to `seen`. Raises Stop for a file that is not there,
        cannot be read, or is empty."""
        digest, index, begins, bytes_kept = hashlib.sha256(), 0, 0, 0
        with self._errors(), self.path.open("rb") as file:
            for index, line in enumerate(file, 1):
                digest.update(line)
                if self.closed:
                    raise Stop(AGAIN, "Terminated", "told to end while the input was read")
                if (index - 1) % self.shards == self.shard:
                    self._begins.append(begins)
                    bytes_kept += sys.getsizeof(line) + _POINTER
                    if bytes_kept <= MOST_KEPT:
                        self._kept.append(line)
                    seen(index - 1, _text(index - 1, line))
                begins += len(line)
        if index == 0:
            raise Stop(BAD_INPUT, "InputEmpty", f"the input {self.path} is empty: there is nothing to answer")
        return Summary(index, digest.hexdigest())

    def lines(self, places: Iterator[int]) -> Iterator[tuple[int, bytes]]:
        """(index, line without its end) of the lines at these places in the shard."""
        for place in places:
            yield self.index_of(place), self.line(place)

    def line(self, place: int) -> bytes:
        """The line at this place in the shard, without its end. Raises Stop, as `read` does."""
        if place < len(self._kept):
            return _text(self.index_of(place), self._kept[place])
        with self._errors():
            if self._file is None:
                self._file = self.path.open("rb")
            self._file.seek(self._begins[place])
            return _text(self.index_of(place), self._file.readline())

    def index_of(self, place: int) -> int:
        """Index in the whole input of the line at this place in the shard."""
        return self.shard + place * self.shards

    def place_of(self, index: int) -> int:
        """The other way round."""
        return index // self.shards

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the file system's refusals into a Stop that says what to do."""
        try:
            yield
        except FileNotFoundError:
            raise Stop(BAD_INPUT, "InputNotFound", f"the input {self.path} does not exist on the volume") from None
        except OSError as error:
            what = f"the input {self.path}"
            raise stop_of(error, what, BAD_INPUT, "InputNotReadable", f"{what} cannot be read") from error


def _text(index: int, line: bytes) -> bytes:
    text = line.rstrip(b"\r\n")
    return text.removeprefix(b"\xef\xbb\xbf") if index == 0 else text

"""A file that is being received: its bytes, and beside them which bytes are there, exact after a kill.

The state file has one 4-byte counter for each block of the file: how many bytes of the block, from its start, have
been written. A counter is written after its bytes. A file of at most one block has none: its size is enough. While it
is received the counters are in memory that processes forked from this one share.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from qwen3_download.listing import RemoteFile
from qwen3_download.volume import disk_failure

BLOCK = 4 * 1024 * 1024
_HEADER = 32


class PartialFile:
    """Made by one process; written by `writer()`s in others, each in blocks of its own, and read by `reader()`s."""

    def __init__(self, remote: RemoteFile, data: Path, state: Path) -> None:
        self.remote = remote
        self.size = remote.size
        self.data = data
        self._state = state
        self._lock = threading.Lock()
        self._identity = hashlib.sha256(f"{remote.size} {remote.sha256} {BLOCK}".encode()).digest()
        self.blocks = -(-self.size // BLOCK)
        self._counts = memoryview(mmap.mmap(-1, 4 * max(1, self.blocks))).cast("I")[: self.blocks]
        self._counts[:] = self._load()
        self.inherited = self.bytes_present()
        self._made = False

    def make(self) -> bool:
        """Make the files, before anything is written; whether this call did. Raises Failure(DiskFull)."""
        with self._lock:
            if self._made:
                return False
            try:
                self._make()
            except OSError as error:
                raise disk_failure(error, self.data) from error
            self._made = True
            return True

    def _make(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if self.blocks > 1:
            self._state.parent.mkdir(parents=True, exist_ok=True)
            with _open(self._state, os.O_RDWR | os.O_CREAT) as fd:
                os.pwrite(fd, self._identity + self._counts.tobytes(), 0)
        # Nothing of an older, longer file may stay behind; a file without state is whole or empty.
        with _open(self.data, os.O_RDWR | os.O_CREAT) as fd:
            os.ftruncate(fd, self.size if self.blocks > 1 or any(self._counts) else 0)

    def missing(self) -> list[tuple[int, int]]:
        """Byte ranges [start, end) still to fetch, in order, joined across blocks."""
        ranges: list[tuple[int, int]] = []
        for block, count in enumerate(self._counts):
            start, end = block * BLOCK + count, min((block + 1) * BLOCK, self.size)
            if start == end:
                continue
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
        return ranges

    def bytes_present(self) -> int:
        return sum(self._counts)

    @contextlib.contextmanager
    def writer(self, feed: Callable[[int, memoryview], None] = lambda offset, data: None) -> Iterator[Writer]:
        """Write what `make` made, in any process. `feed` gets the bytes of every write. Raises Failure(DiskFull)."""
        with contextlib.ExitStack() as opened:
            fds = []
            for path in [self.data, self._state][: 2 if self.blocks > 1 else 1]:
                try:
                    fds.append(opened.enter_context(_open(path, os.O_WRONLY)))
                except OSError as error:
                    raise disk_failure(error, path) from error
            yield Writer(self.size, self.data, self._counts, feed, *fds)

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Read it back, in any process. Raises Failure."""
        try:
            with _open(self.data, os.O_RDONLY) as fd:
                yield Reader(fd, self.data)
        except OSError as error:
            raise disk_failure(error, self.data) from error

    def present_from(self, at: int) -> int:
        """Where the bytes end that are present without a gap from `at` on."""
        for block in range(at // BLOCK, self.blocks):
            end = block * BLOCK + self._counts[block]
            if self._counts[block] < BLOCK:
                return max(at, end)
        return self.size

    def reset(self) -> None:
        """Forget all bytes: they were wrong. Raises Failure(DiskFull)."""
        with self._lock:
            self._counts[:] = array("I", bytes(4 * self.blocks))
            self.inherited = 0
            try:
                with _open(self.data, os.O_RDWR) as fd:
                    os.ftruncate(fd, 0)
                self._make()
            except OSError as error:
                raise disk_failure(error, self.data) from error

    def _load(self) -> array[int]:
        empty = array("I", bytes(4 * self.blocks))
        try:
            on_disk = self.data.stat().st_size
        except OSError:
            return empty
        if self.blocks <= 1:
            return array("I", [self.size]) if self.blocks and on_disk == self.size else empty
        try:
            state = self._state.read_bytes()
        except OSError:
            return empty
        if len(state) != _HEADER + 4 * self.blocks or state[:_HEADER] != self._identity or on_disk != self.size:
            return empty
        counts = array("I", struct.unpack(f"={self.blocks}I", state[_HEADER:]))
        limits = (min(BLOCK, self.size - block * BLOCK) for block in range(self.blocks))
        return array("I", [min(count, limit) for count, limit in zip(counts, limits, strict=True)])


class Reader:
    """Bytes as they lie on the disk."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path = fd, path

    def read(self, offset: int, into: memoryview) -> int:
        """Returns the bytes read. Raises Failure."""
        try:
            return os.preadv(self._fd, [into], offset)
        except OSError as error:
            raise disk_failure(error, self._path, "read") from error

    def sync(self) -> None:
        """Force what was written to the disk, by whomever."""
        os.fdatasync(self._fd)


class Writer:
    """Puts bytes where they belong, and counts them."""

    def __init__(
        self,
        size: int,
        path: Path,
        counts: memoryview,
        feed: Callable[[int, memoryview], None],
        data_fd: int,
        state_fd: int = -1,
    ) -> None:
        self.size = size
        self._path = path
        self._counts = counts
        self._feed = feed
        self._fd = data_fd
        self._state_fd = state_fd

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at `offset`, then count them. Raises Failure(DiskFull)."""
        total = len(data)
        try:
            written = 0
            while written < total:  # a disk that runs full writes a part, then answers ENOSPC
                written += os.pwrite(self._fd, data[written:], offset + written)
        except OSError as error:
            raise disk_failure(error, self._path) from error
        self._feed(offset, data)
        first, last = offset // BLOCK, (offset + total - 1) // BLOCK
        for block in range(first, last + 1):
            self._counts[block] = min(offset + total - block * BLOCK, BLOCK)
        if self._state_fd >= 0:
            os.pwrite(self._state_fd, self._counts[first : last + 1].tobytes(), _HEADER + 4 * first)


@contextlib.contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o664)
    try:
        yield fd
    finally:
        os.close(fd)

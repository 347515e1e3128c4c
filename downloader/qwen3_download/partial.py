"""A file that is being received: its bytes, and beside them which bytes are there, exact after a kill.

The state file has one 4-byte counter for each block of the file: how many bytes of the block, from its start, have
been written. A counter is written after its bytes. A file of at most one block has none: its size tells. While it is
received the counters are in memory that processes forked from this one share.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from qwen3_download.listing import RemoteFile
from qwen3_download.volume import disk_failure

BLOCK = 4 * 1024 * 1024
_HEADER = 32
_POLL = 0.01  # seconds; the bytes come from other processes


class PartialFile:
    """Opened by one process, which reads it back; written by `writer()`s in others, each in blocks of its own."""

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
        self._prefix_block = 0
        self.inherited = self.bytes_present()
        self._users = 0
        self._fd = -1
        self._state_fd = -1

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open as long as any thread is inside: thousands of files must not all be open. Raises Failure(DiskFull)."""
        with self._lock:
            if not self._users:
                self._open()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._close()

    def _open(self) -> None:
        try:
            self.data.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
            if self.blocks > 1:
                self._state.parent.mkdir(parents=True, exist_ok=True)
                self._state_fd = os.open(self._state, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
                os.pwrite(self._state_fd, self._identity + self._counts.tobytes(), 0)
            # Nothing of an older, longer file may stay behind; a file without state is whole or empty.
            os.ftruncate(self._fd, self.size if self.blocks > 1 or any(self._counts) else 0)
        except OSError as error:
            raise disk_failure(error, self.data) from error

    def _close(self) -> None:
        for fd in (self._fd, self._state_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._state_fd = -1

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
    def writer(self) -> Iterator[Writer]:
        """Write, in this process or in one forked from it, what another keeps open. Raises Failure(DiskFull)."""
        with contextlib.ExitStack() as opened:
            fds = []
            for path in [self.data, self._state][: 2 if self.blocks > 1 else 1]:
                try:
                    fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
                except OSError as error:
                    raise disk_failure(error, path) from error
                opened.callback(os.close, fds[-1])
            yield Writer(self.size, self.data, self._counts, *fds)

    def read(self, offset: int, into: memoryview) -> int:
        """Read from disk; returns the bytes read."""
        try:
            return os.preadv(self._fd, [into], offset)
        except OSError as error:
            raise disk_failure(error, self.data, "read") from error

    def wait_prefix(self, beyond: int, timeout: float) -> int:
        """Bytes present without a gap from the start; waits up to `timeout` seconds for more than `beyond`."""
        until = time.monotonic() + timeout
        while (present := self._prefix()) <= beyond < self.size and time.monotonic() < until:
            time.sleep(_POLL)
        return present

    def sync(self) -> None:
        """Force the bytes to the disk."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise disk_failure(error, self.data) from error

    def reset(self) -> None:
        """Forget all bytes: they were wrong."""
        with self._lock:
            self._counts[:] = array("I", bytes(4 * self.blocks))
            self._prefix_block = 0
            self.inherited = 0
            if self._state_fd >= 0:
                os.pwrite(self._state_fd, self._counts.tobytes(), _HEADER)
            os.ftruncate(self._fd, 0)
            if self.blocks > 1:
                os.ftruncate(self._fd, self.size)

    def _prefix(self) -> int:
        with self._lock:
            while self._prefix_block < self.blocks and self._counts[self._prefix_block] == BLOCK:
                self._prefix_block += 1
            if self._prefix_block == self.blocks:
                return self.size
            return self._prefix_block * BLOCK + self._counts[self._prefix_block]

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


class Writer:
    """Puts bytes where they belong, and counts them."""

    def __init__(self, size: int, path: Path, counts: memoryview, data_fd: int, state_fd: int = -1) -> None:
        self.size = size
        self._path = path
        self._counts = counts
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
        first, last = offset // BLOCK, (offset + total - 1) // BLOCK
        for block in range(first, last + 1):
            self._counts[block] = min(offset + total - block * BLOCK, BLOCK)
        if self._state_fd >= 0:
            os.pwrite(self._state_fd, self._counts[first : last + 1].tobytes(), _HEADER + 4 * first)

"""The sha256 of a file while it arrives: of the bytes on their way to the disk where they come in order, and of what is
read back from there where they do not."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from qwen3_download.partial import PartialFile, Reader

_READ = 1024 * 1024
_SYNC_EVERY = 256 * 1024 * 1024
_HELP = 4
"""Reads by which a connection helps at every write of its own: a hash that is behind would stay so on a busy machine,
and read back what it could have been fed."""
_POLL = 0.02  # seconds; what came out of order may come from other processes


class Stopped(Exception):
    """Stopped before the file was complete."""


class Digest:
    """Of one file, in one process: a hash has a single order, and cannot be handed on."""

    def __init__(self, file: PartialFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._at = 0
        self._lock = threading.Lock()
        self._complete = threading.Event()
        self._buffer = memoryview(bytearray(min(_READ, max(file.size, 1))))
        self._reader: Reader | None = None  # while `finish` runs

    def feed(self, offset: int, data: memoryview) -> None:
        """Bytes that are written, but not yet counted as present. Taken if they are the next ones, else read later."""
        with self._lock:
            for _ in range(_HELP):
                if self._at >= offset or not self._reader or not self._read_back(self._reader):
                    break
            if offset == self._at:
                self._sha256.update(data)
                self._at += len(data)
                if self._at == self._file.size:
                    self._complete.set()

    def finish(self, stopped: Callable[[], bool]) -> str:
        """64 hex digits when the file is complete, and on the disk; "" when somebody made it shorter.

        Raises Stopped, or Failure when the disk refuses.
        """
        synced = 0
        with self._file.reader() as reader:
            self._reader = reader
            try:
                while self._at < self._file.size:
                    if stopped():
                        raise Stopped
                    with self._lock:
                        present, n = self._file.present_from(self._at) - self._at, self._read_back(reader)
                    if present > 0 and not n:
                        return ""
                    if not n:
                        self._complete.wait(_POLL)
                    # Early and in parts, so that no long flush waits at the end.
                    if self._at - synced >= _SYNC_EVERY:
                        synced = self._at
                        reader.sync()
            finally:
                with self._lock:
                    self._reader = None
            reader.sync()
        return self._sha256.hexdigest()

    def _read_back(self, reader: Reader) -> int:
        """The next bytes that are present, at most a buffer; with the lock held."""
        present = self._file.present_from(self._at) - self._at
        n = reader.read(self._at, self._buffer[: min(present, len(self._buffer))]) if present > 0 else 0
        self._sha256.update(self._buffer[:n])
        self._at += n
        return n

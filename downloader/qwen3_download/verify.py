"""Hash a file from the disk while it arrives: reads what is there without a gap, then waits for more."""

from __future__ import annotations

import hashlib
import threading

from qwen3_download.partial import PartialFile

_READ = 1024 * 1024
_SYNC_EVERY = 256 * 1024 * 1024


class Stopped(Exception):
    """Told to stop before the file was complete."""


def hash_from_disk(file: PartialFile, stopped: threading.Event) -> str:
    """sha256 (64 hex digits) of the complete file, as read back; its bytes are on the disk when this returns.

    "" when somebody made the file shorter. Raises Stopped, or Failure when the disk refuses.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(_READ, max(file.size, 1))))
    at, synced = 0, 0
    while at < file.size:
        present = file.wait_prefix(at, 0.5)
        if stopped.is_set():
            raise Stopped
        while at < present:
            n = file.read(at, buffer[: min(len(buffer), present - at)])
            if stopped.is_set():
                raise Stopped
            if not n:
                return ""
            digest.update(buffer[:n])
            at += n
            # Early and in parts, so that no long flush waits at the end.
            if at - synced >= _SYNC_EVERY:
                file.sync()
                synced = at
    file.sync()
    return digest.hexdigest()

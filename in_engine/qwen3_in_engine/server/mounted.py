"""A folder that the kubelet keeps fresh: a mounted Secret or ConfigMap."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

READ_SECONDS = 2.0
"""A change is seen with the first request that comes so long after the last check."""
_DATA = "..data"
"""The kubelet's link to the files of one version: it changes all of them at once by pointing it elsewhere."""


class Mounted:
    """Knows when the folder is to be read again."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._now = now
        self._checked: float | None = None
        self._seen: object = None

    def changed(self) -> bool:
        """Whether it was never read, or is another version than at the last check."""
        now = self._now()
        if self._checked is not None and now - self._checked < READ_SECONDS:
            return False
        self._checked = now
        version = self._version()
        changed = version != self._seen
        self._seen = version
        return changed

    def forget(self) -> None:
        """It could not be read: it is tried again at the next check."""
        self._seen = None

    def _version(self) -> object:
        try:
            return os.readlink(self.folder / _DATA)  # noqa: PTH115 - text is enough
        except OSError:  # no volume of the kubelet's
            return _files(self.folder)


def _files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in found))

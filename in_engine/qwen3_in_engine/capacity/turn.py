"""Which of a pod's API server processes measures (--api-server-count): one, while the others wait for it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from qwen3_in_engine.server.drain import this_container


class Turn:
    """The processes of one container meet at a file. It holds the key of the measurement's own requests."""

    def __init__(self, folder: Path, pid: int | None = None) -> None:
        self._file = folder / f"qwen3-benchmark-{this_container()}"
        self._own = self._file.with_name(f"{self._file.name}-{pid or os.getpid()}")
        self._done = self._file.with_name(f"{self._file.name}-done")

    def take(self) -> bool:
        """Whether this process is the one. Raises OSError."""
        descriptor = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(self._own, self._file)  # whole, or not at all
        except FileExistsError:
            return False
        finally:
            self._own.unlink()
        return True

    def key(self) -> str:
        """The key that marks the requests of the measurement among those of users. Raises OSError."""
        return self._file.read_text(encoding="ascii")

    def end(self) -> None:
        """It is over. Raises OSError."""
        self._done.touch()

    @property
    def is_over(self) -> bool:
        """Whether the process that had the turn has ended it."""
        return self._done.exists()

"""What ends a command: words for a person, and an exit code."""

from __future__ import annotations

FAILED, BAD_INPUT = 1, 2


class Failure(Exception):
    """A command cannot do what it was asked for; the message says why, and what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code

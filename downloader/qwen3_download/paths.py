"""Paths of files as others give them: a hub's listing, a marker in a folder of others."""

from __future__ import annotations

_LONGEST = 1024


def is_safe(path: str) -> bool:
    """Whether it is the name of something inside a folder, that a file system can take."""
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path:
        return False
    # What JSON may have, and no name: control characters, and halves of a character.
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in path):
        return False
    return len(path.encode()) <= _LONGEST

"""Reading a file of a repository: somebody else's, so within bounds, and None where it is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LARGEST_FILE = 16 * 2**20


def read_text(path: Path, encoding: str = "utf-8") -> str | None:
    """The text of a file; None where it is not there, too large, or no text."""
    try:
        return path.read_text(encoding=encoding) if path.stat().st_size <= _LARGEST_FILE else None
    except (OSError, ValueError):
        return None


def read_json(path: Path) -> Any:
    """The content of a file; None where it is not there, too large, or no JSON."""
    try:
        return json.loads(read_text(path, "utf-8-sig") or "")
    except (ValueError, RecursionError):
        return None

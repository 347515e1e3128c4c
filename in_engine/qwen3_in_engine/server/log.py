"""A line of ours in the server's log."""

from __future__ import annotations

import sys


def log(words: str) -> None:
    """Write it."""
    print(f"qwen3: {words}", file=sys.stderr, flush=True)

"""Texts of pods, bounded before anything is searched in them: a pod may write what it likes, and its log is searched in
the operator's only event loop."""

from __future__ import annotations

MOST_CHARACTERS = 256 * 1024
MOST_LINES = 4000
LONGEST_LINE = 4096


def bounded_lines(text: str) -> list[str]:
    """The last lines of `text`, each cut to what a person would read of it."""
    return [line[:LONGEST_LINE] for line in text[-MOST_CHARACTERS:].split("\n")[-MOST_LINES:]]


def bounded(text: str) -> str:
    """`text` with the bounds of `bounded_lines`."""
    return "\n".join(bounded_lines(text))

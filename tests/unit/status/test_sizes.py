"""Sizes in words."""

from __future__ import annotations

import pytest

from qwen3_operator.status.sizes import progress_of, readable

GIB = 1024**3


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1024.0 KiB"),
        (int(15.3 * GIB), "15.3 GiB"),
        (1024**6, "1024.0 PiB"),
    ],
)
def test_a_size(size: int, words: str) -> None:
    assert readable(size) == words


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [
        (None, None, ""),
        (0, 0, ""),
        (0, None, ""),
        (512, None, "512 B"),
        (None, GIB, "1.0 GiB"),
        (0, GIB, "0.0 of 1.0 GiB"),
        (GIB // 4, 3 * GIB, "0.2 of 3.0 GiB"),
        (GIB, GIB, "1.0 GiB"),
    ],
)
def test_progress_in_the_unit_of_the_whole(done: int | None, total: int | None, words: str) -> None:
    assert progress_of(done, total) == words

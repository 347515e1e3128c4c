"""Sizes as people read them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def readable(size: int) -> str:
    """Bytes with a unit: 15.3 GiB."""
    power = _power(size)
    return f"{_number(size, power)} {_UNITS[power]}"


def progress_of(done: int | None, total: int | None) -> str:
    """How much of something is there: 12.3 of 15.3 GiB, or 15.3 GiB once that is all; empty where nothing is known."""
    if not total or done is None or done == total:
        return readable(total or done or 0) if total or done else ""
    power = _power(total)
    return f"{_number(done, power)} of {_number(total, power)} {_UNITS[power]}"


def _power(size: int) -> int:
    return min(max(0, (size.bit_length() - 1) // 10), len(_UNITS) - 1)


def _number(size: int, power: int) -> str:
    return f"{size / 1024**power:.1f}" if power else str(size)

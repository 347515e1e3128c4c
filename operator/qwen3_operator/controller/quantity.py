"""Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?)([numkMGTPE]|[KMGTPE]i)?")
_LONGEST = 64
"""Characters of a quantity at most; Kubernetes itself writes no more than 20 digits and a suffix."""
_LARGEST_EXPONENT = 30
"""Kubernetes holds quantities from 1e-9 to 2^63. `1e999999` has few characters, and is dear as a whole number."""


def quantity(value: str | int | float) -> Decimal:
    """A Kubernetes quantity as a number. Raises ValueError; cheap whatever the text."""
    text = str(value)
    form = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if form is None:
        raise ValueError(f"{text[:_LONGEST]!r} is not a quantity")
    if abs(int(form[2] or 0)) > _LARGEST_EXPONENT:
        raise ValueError(f"{text!r} is not a quantity: no number has such an exponent")
    return Decimal(form[1]) * _SUFFIXES[form[3] or ""]


def gibibytes(size: int) -> str:
    """Bytes, a multiple of 1 GiB, as a quantity."""
    return f"{size >> 30}Gi"

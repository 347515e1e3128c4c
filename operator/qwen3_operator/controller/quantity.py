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


_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")


def quantity(value: str | int | float) -> Decimal:
    """A Kubernetes quantity as a number. Raises ValueError."""
    form = _FORM.fullmatch(str(value))
    if form is None:
        raise ValueError(f"{value!r} is not a quantity")
    try:
        return Decimal(form[1]) * _SUFFIXES[form[2] or ""]
    except ArithmeticError as error:
        raise ValueError(f"{value!r} is not a quantity: no number is that large") from error


def gibibytes(size: int) -> str:
    """Bytes, a multiple of 1 GiB, as a quantity."""
    return f"{size >> 30}Gi"

"""Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.controller.quantity import gibibytes, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (1, 1),
        ("1000m", 1),
        ("1.5", "1.5"),
        ("1500m", "1.5"),
        ("0.5Gi", 2**29),
        ("512Mi", 2**29),
        ("40Gi", 40 * 2**30),
        ("1k", 1000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("2E", 2 * 10**18),
        ("1Ei", 2**60),
        ("5u", "0.000005"),
        ("5n", "5e-9"),
        ("-1Ki", -1024),
        ("+1", 1),
    ],
)
def test_value(text: str | int, value: int | str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "lots", "1 Gi", "Gi", "1GiB", "1gi", "--1", "1e", "1.2.3", "NaN", "Infinity", "0x1", "1_000"),
        *("1e9999999", "1e999999", "1E-999999", "1e31", "0e99999999999999999999", "9" * 65, "1" + "0" * 100_000),
    ],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)


def test_every_quantity_is_cheap_as_a_whole_number() -> None:
    """`1e999999` took half a minute (attack 03)."""
    largest = quantity("9" * 59 + "e30Ei")
    assert int(largest).bit_length() < 500


@given(st.integers(0, 2**20))
def test_gibibytes_is_the_way_back(size: int) -> None:
    assert quantity(gibibytes(size << 30)) == size << 30

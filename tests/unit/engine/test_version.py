"""vLLM versions from tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.engine.version import EngineVersion


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.33.0", "0.33.0"),
        ("v0.33.0", "0.33.0"),
        ("v0.33.0-cu130", "0.33.0"),
        ("0.33", "0.33.0"),
        ("v0.10.1.1", "0.10.1.1"),
        ("0.11.0rc2", "0.11.0"),
        ("0.8.5.post1", "0.8.5"),
        ("0.32.0+cpu", "0.32.0"),
        ("nightly", None),
        ("latest", None),
        ("nightly-4ba787ec9", None),
        ("0", None),
        ("", None),
        ("v0.33.0.1.2.3", None),
    ],
)
def test_parse(text: str, version: str | None) -> None:
    parsed = EngineVersion.parse(text)
    assert (str(parsed) if parsed else None) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.33.0", "0.33.0"),
        ("vllm/vllm-openai:v0.33.0@sha256:" + "a" * 64, "0.33.0"),
        ("vllm/vllm-openai@sha256:" + "a" * 64, None),
        ("localhost:5000/vllm", None),
        ("localhost:5000/vllm:0.16.0", "0.16.0"),
        ("registry.example:443/team/vllm-openai:nightly", None),
        ("vllm/vllm-openai", None),
    ],
)
def test_from_image(image: str, version: str | None) -> None:
    parsed = EngineVersion.from_image(image)
    assert (str(parsed) if parsed else None) == version


def test_of_refuses_what_is_no_version() -> None:
    with pytest.raises(ValueError, match="'latest' is not a vLLM version"):
        EngineVersion.of("latest")


numbers = st.lists(st.integers(0, 99), min_size=2, max_size=4)


@given(numbers, numbers)
def test_order_is_that_of_the_numbers(a: list[int], b: list[int]) -> None:
    left, right = (EngineVersion.of(".".join(map(str, n))) for n in (a, b))
    padded = [n + [0] * (4 - len(n)) for n in (a, b)]
    assert (left < right) == (padded[0] < padded[1])
    assert (left == right) == (padded[0] == padded[1])


@given(numbers)
def test_what_is_printed_is_read_back(n: list[int]) -> None:
    version = EngineVersion.of(".".join(map(str, n)))
    assert EngineVersion.of(str(version)) == version
    assert EngineVersion.of(f"v{version}-cu130") == version

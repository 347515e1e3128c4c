"""Lengths: the model's own, YaRN, and the default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.catalog import CatalogEntry, lookup
from qwen3_operator.engine.length import DEFAULT_LENGTH, LengthPlan, resolve_length
from qwen3_operator.engine.version import EngineVersion

NEW = EngineVersion.of("0.33.0")


def entry(name: str) -> CatalogEntry:
    found = lookup(f"Qwen/{name}")
    assert found is not None
    return found


def plan(name: str, requested: int | None, version: EngineVersion = NEW, kv_tokens: int | None = None) -> LengthPlan:
    return resolve_length(requested, entry(name), entry(name).facts, version, kv_tokens)


@pytest.mark.parametrize("length", [1, 8192, 32768, 40960])
def test_within_the_own_length_nothing_is_overridden(length: int) -> None:
    result = plan("Qwen3-8B", length)
    assert (result.max_model_len, result.hf_overrides, result.problems) == (length, {}, ())


def test_yarn_as_the_reference_says() -> None:
    assert plan("Qwen3-8B", 131072).hf_overrides == {
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "rope_theta": 1000000,
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
    }


@pytest.mark.parametrize(("length", "factor"), [(40961, 2.0), (65536, 2.0), (65537, 3.0), (98305, 4.0)])
def test_the_factor_is_the_smallest_that_is_enough(length: int, factor: float) -> None:
    override = plan("Qwen3-30B-A3B", length).hf_overrides
    assert override["rope_parameters"]["factor"] == factor
    assert override["rope_parameters"]["rope_theta"] == 1000000, "MoE models fall back to 10000 without it"
    assert override["max_position_embeddings"] == factor * 32768


def test_older_releases_call_it_rope_scaling() -> None:
    override = plan("Qwen3-8B", 131072, EngineVersion.of("0.11.0")).hf_overrides
    assert "rope_scaling" in override
    assert "rope_parameters" not in override


def test_nested_models_are_overridden_where_their_numbers_stand() -> None:
    override = plan("Qwen3.5-27B", 1_000_000).hf_overrides
    assert set(override) == {"text_config"}
    rope = override["text_config"]["rope_parameters"]
    assert rope["mrope_section"] == [11, 11, 10]
    assert rope["partial_rotary_factor"] == 0.25
    assert (rope["rope_type"], rope["factor"]) == ("yarn", 4.0)


@pytest.mark.parametrize(
    ("name", "length", "says"),
    [
        ("Qwen3-8B", 131073, "at most 40960, or 131072 with YaRN"),
        ("Qwen3-4B-Instruct-2507", 262145, "at most 262144"),
        ("Qwen3-VL-8B-Instruct", 1010001, "at most 262144, or 1010000 with YaRN"),
        ("Qwen3-8B-Base", 65536, "at most 40960"),
    ],
)
def test_beyond_everything(name: str, length: int, says: str) -> None:
    (problem,) = plan(name, length).problems
    assert (problem.reason, problem.field) == ("MaxModelLenTooLong", "spec.engine.maxModelLen")
    assert says in problem.message and "spec.engine.hfOverrides" in problem.message


@pytest.mark.parametrize(
    ("name", "kv_tokens", "length"),
    [
        ("Qwen3-8B", None, DEFAULT_LENGTH),
        ("Qwen3-8B", 408256, 40960),  # measured on an H100
        ("Qwen3-8B", 36288, 16384),  # measured on an imitated 24 GiB card
        ("Qwen3-32B", 40864, 16384),  # measured on an H100
        ("Qwen3-30B-A3B-Instruct-2507", 135488, 65536),
        ("Qwen3-30B-A3B-Instruct-2507", 751856, 262144),
        ("Qwen3-8B", 0, 1024),
    ],
)
def test_default(name: str, kv_tokens: int | None, length: int) -> None:
    result = plan(name, None, kv_tokens=kv_tokens)
    assert result.max_model_len == length
    assert result.problems == ()
    assert result.reason


@given(st.integers(0, 3_000_000))
def test_the_default_leaves_room_for_two_sequences(kv_tokens: int) -> None:
    length = plan("Qwen3-8B", None, kv_tokens=kv_tokens).max_model_len
    assert length <= 40960
    assert length * 2 <= kv_tokens or length == 1024

"""Linear attention: every sequence has a state, and vLLM wants room for max_num_seqs of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qwen3_operator.catalog import lookup
from qwen3_operator.engine.fit import preflight
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.memory import GIB, predict
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding


def load(name: str, **changes: Any) -> Load:
    entry, gpu = lookup(f"Qwen/{name}"), Gpu.named("H100")
    assert entry is not None and entry.facts is not None and gpu is not None
    return replace(Load(facts=entry.facts, gpu=gpu, version=EngineVersion.of("0.33.0")), **changes)


@pytest.mark.parametrize(("name", "tokens"), [("Qwen3.6-27B-FP8", 784), ("Qwen3-Next-80B-A3B-Instruct", 544)])
def test_a_block_takes_as_much_as_a_state(name: str, tokens: int) -> None:
    """vLLM logs `Setting attention block size to 784 tokens` and 544 for these."""
    assert predict(load(name)).layout.block_tokens == tokens


@pytest.mark.parametrize("version", ["0.22.0", "0.26.0", "0.28.0", "0.30.0", "0.33.0"])
def test_states_of_the_default_number_of_sequences_do_not_fit(version: str) -> None:
    """vllm-project/recipes#551, an H100 at 0.95: `max_num_seqs (1024) exceeds available Mamba cache blocks (856)`; with
    512 it starts."""
    case = load("Qwen3.6-27B-FP8", version=EngineVersion.of(version), utilization=0.95)
    memory = predict(case)
    assert memory.kv_cache_gib * GIB / memory.layout.block_bytes == pytest.approx(856, rel=0.03)
    report = preflight(case, 8192)
    assert report.verdict == "DoesNotFit"
    assert "the states of maxNumSeqs 1024 need 49.00 GiB" in report.message
    assert report.max_model_len_that_fits == 0
    assert preflight(replace(case, max_num_seqs=512), 8192).verdict == "Fits"
    advised = int(report.message.split("maxNumSeqs up to ")[1].split()[0].rstrip("."))
    assert 512 < advised <= 856, "with fewer sequences the sampler takes less, too"


def test_the_number_of_sequences_that_is_advised_fits() -> None:
    case = load("Qwen3.6-27B-FP8")
    words = preflight(case, 8192).message
    assert "maxNumSeqs up to " in words
    advised = int(words.split("maxNumSeqs up to ")[1].split()[0].rstrip("."))
    assert preflight(replace(case, max_num_seqs=advised), 8192).verdict == "Fits"
    assert advised > 512


def test_without_graphs_only_the_sequence_itself_counts() -> None:
    case = load("Qwen3.6-27B-FP8", enforce_eager=True)
    assert predict(case).least_kv_gib == 0
    assert preflight(case, 8192).verdict == "Fits"


def test_the_states_are_split_over_the_gpus() -> None:
    one, two = (predict(load("Qwen3.6-27B-FP8", sharding=Sharding(tp))) for tp in (1, 2))
    assert two.least_kv_gib == pytest.approx(one.least_kv_gib / 2)


def test_a_sequence_takes_whole_blocks_and_two_states() -> None:
    layout = predict(load("Qwen3.6-27B-FP8", enforce_eager=True)).layout
    assert layout.bytes_for(785) - layout.bytes_for(784) == 784 * layout.bytes_per_token
    assert layout.bytes_for(784) == 784 * layout.bytes_per_token + 2 * layout.state_bytes


def test_other_models_have_no_states() -> None:
    layout = predict(load("Qwen3-8B")).layout
    assert (layout.state_bytes, layout.least_bytes, layout.block_tokens) == (0, 0, 16)

"""Legal tensor parallel sizes: the table of what vLLM accepts, and words for what it refuses."""

from __future__ import annotations

import pytest

from qwen3_operator.catalog import ModelFacts, lookup
from qwen3_operator.engine.parallelism import check_parallelism, legal_tensor_parallel_sizes
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

NEW = EngineVersion.of("0.33.0")
OLD = EngineVersion.of("0.28.0")


def facts(name: str) -> ModelFacts:
    entry = lookup(f"Qwen/{name}")
    assert entry is not None
    assert entry.facts is not None
    return entry.facts


# Powers of two from the rules in vLLM's source; FP8 before and since 0.29.
TABLE = {
    "Qwen3-0.6B": 16,
    "Qwen3-0.6B-FP8": 8,
    "Qwen3-1.7B": 16,
    "Qwen3-1.7B-FP8": 16,
    "Qwen3-4B": 32,
    "Qwen3-4B-FP8": 4,
    "Qwen3-4B-AWQ": 4,
    "Qwen3-8B": 32,
    "Qwen3-8B-FP8": 32,
    "Qwen3-8B-AWQ": 32,
    "Qwen3-14B": 8,
    "Qwen3-14B-FP8": 8,
    "Qwen3-14B-AWQ": 8,
    "Qwen3-32B": 64,
    "Qwen3-32B-FP8": 8,
    "Qwen3-32B-AWQ": 8,
    "Qwen3-30B-A3B": 32,
    "Qwen3-30B-A3B-FP8": (2, 8),
    "Qwen3-30B-A3B-GPTQ-Int4": 2,
    "Qwen3-235B-A22B": 64,
    "Qwen3-235B-A22B-FP8": (4, 16),
    "Qwen3-235B-A22B-GPTQ-Int4": 4,
    "Qwen3-Coder-480B-A35B-Instruct": 32,
    "Qwen3-Coder-480B-A35B-Instruct-FP8": (4, 16),
    "Qwen3-Next-80B-A3B-Instruct": 16,
    "Qwen3-Next-80B-A3B-Instruct-FP8": 4,
    "Qwen3.5-27B": 8,
    "Qwen3.5-27B-FP8": 8,
    "Qwen3.5-35B-A3B": 16,
}


@pytest.mark.parametrize("name", TABLE)
def test_legal_sizes(name: str) -> None:
    largest = TABLE[name]
    before, since = largest if isinstance(largest, tuple) else (largest, largest)
    for version, most in ((OLD, before), (NEW, since)):
        assert legal_tensor_parallel_sizes(facts(name), version) == tuple(
            1 << power for power in range(most.bit_length())
        )


def words(name: str, sharding: Sharding, version: EngineVersion = NEW, gpus: int | None = None) -> str:
    problems = check_parallelism(facts(name), version, sharding, gpus)
    assert all(problem.reason == "IllegalParallelism" for problem in problems)
    return " | ".join(f"{problem.field}: {problem.message}" for problem in problems)


@pytest.mark.parametrize("tp", [3, 6, 64])
def test_heads_must_divide(tp: int) -> None:
    assert f"tensorParallelSize {tp} does not divide the model's 32 attention heads" in words("Qwen3-8B", Sharding(tp))


def test_key_value_heads() -> None:
    assert "neither divides the model's 8 key-value heads" in words("Qwen3-14B", Sharding(5))


def test_fp8_experts_name_the_ways_out() -> None:
    text = words("Qwen3-30B-A3B-FP8", Sharding(4), OLD)
    assert "each GPU gets 192 of the experts' intermediate size of 768" in text
    assert "128 that share a scale in this fp8 checkpoint" in text
    assert "enableExpertParallel or vLLM 0.29" in text
    assert words("Qwen3-30B-A3B-FP8", Sharding(4), NEW) == ""
    assert words("Qwen3-30B-A3B-FP8", Sharding(4, expert_parallel=True), OLD) == ""


def test_fp8_dense_rows() -> None:
    assert "each GPU gets 1216 of the intermediate size of 9728" in words("Qwen3-4B-FP8", Sharding(8))


def test_expert_parallel_needs_experts() -> None:
    assert "enableExpertParallel needs a model with experts" in words("Qwen3-8B", Sharding(2, expert_parallel=True))


def test_pipeline() -> None:
    assert words("Qwen3-8B", Sharding(1, 36)) == ""
    assert "pipelineParallelSize 37 is more than the model's 36 layers" in words("Qwen3-8B", Sharding(1, 37))


def test_gpus_that_are_requested() -> None:
    assert words("Qwen3-8B", Sharding(2, 2), gpus=4) == ""
    assert "2 × pipelineParallelSize 2 needs 4 GPUs, and 2 are requested" in words("Qwen3-8B", Sharding(2, 2), gpus=2)


def test_zero() -> None:
    assert "start at 1" in words("Qwen3-8B", Sharding(0))

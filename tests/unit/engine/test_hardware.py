"""Which checkpoints a kind of GPU can run."""

from __future__ import annotations

import pytest

from qwen3_operator.catalog import ModelFacts, lookup
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.hardware import check_gpu
from qwen3_operator.engine.version import EngineVersion


def facts(model_id: str) -> ModelFacts:
    entry = lookup(model_id)
    assert entry is not None
    assert entry.facts is not None
    return entry.facts


@pytest.mark.parametrize(
    ("model_id", "card", "version", "dtype", "reason"),
    [
        ("Qwen/Qwen3-0.6B", "T4", "0.33.0", None, None),
        ("Qwen/Qwen3-0.6B", "T4", "0.33.0", "auto", None),
        ("Qwen/Qwen3-0.6B", "T4", "0.33.0", "half", None),
        ("Qwen/Qwen3-0.6B", "T4", "0.33.0", "bfloat16", "DtypeNotSupported"),
        ("Qwen/Qwen3-0.6B", "T4", "0.8.5", None, "DtypeNotSupported"),
        ("Qwen/Qwen3-0.6B", "L4", "0.8.5", "bfloat16", None),
        ("Qwen/Qwen3-0.6B-FP8", "T4", "0.33.0", "half", None),
        ("Qwen/Qwen3-0.6B-FP8", "T4", "0.10.2", "half", "QuantizationNotSupported"),
        ("Qwen/Qwen3-0.6B-FP8", "V100", "0.18.0", "half", "QuantizationNotSupported"),
        ("Qwen/Qwen3-0.6B", "V100", "0.19.1", None, None),
        ("Qwen/Qwen3-0.6B", "V100", "0.20.0", None, "KernelImageMissing"),
        ("Qwen/Qwen3-0.6B-FP8", "V100", "0.33.0", "half", "KernelImageMissing"),
        ("Qwen/Qwen3-8B-AWQ", "T4", "0.33.0", "half", None),
        ("Qwen/Qwen3-8B-FP8", "A100", "0.10.2", None, None),
    ],
)
def test_cards(model_id: str, card: str, version: str, dtype: str | None, reason: str | None) -> None:
    gpu = Gpu.named(card)
    assert gpu is not None
    problems = check_gpu(facts(model_id), gpu, EngineVersion.of(version), dtype)
    assert [problem.reason for problem in problems] == ([reason] if reason else [])


def test_an_image_of_ones_own_may_have_the_kernels() -> None:
    gpu = Gpu.named("V100")
    assert gpu is not None
    assert check_gpu(facts("Qwen/Qwen3-0.6B"), gpu, EngineVersion.of("0.33.0"), own_image=True) == []


def test_an_unknown_card_is_not_judged() -> None:
    assert check_gpu(facts("Qwen/Qwen3-8B-FP8"), Gpu.exact(16), EngineVersion.of("0.8.5"), "bfloat16") == []

"""Starts of vLLM that the fit of the memory formula did not see, each for a term of it."""

from __future__ import annotations

from dataclasses import dataclass

from qwen3_operator.catalog import ModelFacts, lookup
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.memory import Load
from qwen3_operator.engine.version import EngineVersion

ENGINE_VERSION = EngineVersion.of("0.26.0")
GPU_NAME = "H100-80GB"


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    tests: str
    """The part of engine/memory.py that decides the result."""
    model: str
    utilization: float
    max_model_len: int
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    enforce_eager: bool = False
    kv_cache_dtype: str = "auto"

    @property
    def facts(self) -> ModelFacts:
        entry = lookup(self.model)
        assert entry is not None and entry.facts is not None, self.model
        return entry.facts

    @property
    def flags(self) -> list[str]:
        """The memory flags of `vllm serve`."""
        values = {
            "--gpu-memory-utilization": self.utilization,
            "--max-model-len": self.max_model_len,
            "--max-num-seqs": self.max_num_seqs,
            "--max-num-batched-tokens": self.max_num_batched_tokens,
            "--kv-cache-dtype": self.kv_cache_dtype,
        }
        rendered = [text for flag, value in values.items() for text in (flag, str(value))]
        return [*rendered, "--enforce-eager"] if self.enforce_eager else rendered

    @property
    def load(self) -> Load:
        gpu = Gpu.named(GPU_NAME)
        assert gpu is not None
        return Load(
            facts=self.facts,
            gpu=gpu,
            version=ENGINE_VERSION,
            utilization=self.utilization,
            kv_cache_dtype=self.kv_cache_dtype,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            enforce_eager=self.enforce_eager,
        )


CASES = (
    Case(
        name="8B-16k-eager-b4096-util0.80",
        tests="peak: activations",
        model="Qwen/Qwen3-8B",
        utilization=0.80,
        max_model_len=16384,
        max_num_batched_tokens=4096,
        enforce_eager=True,
    ),
    Case(
        name="1.7B-32k-eager-s2048-kvfp8-util0.60",
        tests="peak: logits, at twice the sequences measured before; FP8 KV cache",
        model="Qwen/Qwen3-1.7B",
        utilization=0.60,
        max_model_len=32768,
        max_num_seqs=2048,
        enforce_eager=True,
        kv_cache_dtype="fp8",
    ),
    Case(
        name="4B-40k-eager-s128-b2048-util0.15-toolong",
        tests="a length that does not fit: the largest one that does",
        model="Qwen/Qwen3-4B",
        utilization=0.15,
        max_model_len=40960,
        max_num_seqs=128,
        max_num_batched_tokens=2048,
        enforce_eager=True,
    ),
    Case(
        name="30B-A3B-16k-eager-s512-b4096-util0.90",
        tests="peak: mixture of experts, at other sequences and batch than measured before",
        model="Qwen/Qwen3-30B-A3B",
        utilization=0.90,
        max_model_len=16384,
        max_num_seqs=512,
        max_num_batched_tokens=4096,
        enforce_eager=True,
    ),
    Case(
        name="14B-24k-cold-s512-b4096-util0.85",
        tests="peak: compilation",
        model="Qwen/Qwen3-14B",
        utilization=0.85,
        max_model_len=24576,
        max_num_seqs=512,
        max_num_batched_tokens=4096,
    ),
)

SERVING = Case(
    name="8B-8k-cold-b4096-util0.50",
    tests="peak: compilation; the server of throughput.py",
    model="Qwen/Qwen3-8B",
    utilization=0.50,
    max_model_len=8192,
    max_num_seqs=256,
    max_num_batched_tokens=4096,
)

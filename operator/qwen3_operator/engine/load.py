"""What a server is asked to hold on each GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qwen3_operator.catalog import ModelFacts, Quantization
from qwen3_operator.engine.gpu import Gpu, default_utilization, scheduler_defaults
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import SINGLE_GPU, Sharding

Kind = Literal["dense", "moe"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What decides the memory of one server. None: vLLM's own default."""

    facts: ModelFacts
    gpu: Gpu
    version: EngineVersion
    sharding: Sharding = SINGLE_GPU
    utilization: float | None = None
    kv_cache_dtype: str | None = None
    kv_cache_bytes: int | None = None
    """Set by --kv-cache-memory-bytes: replaces what is left under the utilization."""
    quantization: str | None = None
    """Quantization of a plain checkpoint while it is loaded (--quantization fp8)."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    max_position: int | None = None
    """Positions after an override of the length (YaRN)."""
    pooling: bool = False
    """An embedding or reranking model: no sampler, and no CUDA graphs of whole steps."""
    flashinfer_sampler: bool = True
    """Whether FlashInfer may sample: vLLM's own default, off by VLLM_USE_FLASHINFER_SAMPLER=0."""
    lora: Lora | None = None
    """Room for LoRA adapters."""
    extras: tuple[str, ...] = ()
    """What else takes memory that nobody measured, in words."""

    @property
    def kind(self) -> Kind:
        """What the formula's constants differ by."""
        return "moe" if self.facts.is_moe else "dense"

    @property
    def sequences(self) -> int:
        """max_num_seqs in effect; vLLM's own choice is no larger than a batch."""
        return self.max_num_seqs or min(scheduler_defaults(self.gpu, self.version).max_num_seqs, self.batched_tokens)

    @property
    def batched_tokens(self) -> int:
        """max_num_batched_tokens in effect."""
        return self.max_num_batched_tokens or scheduler_defaults(self.gpu, self.version).max_num_batched_tokens

    @property
    def requested_gib(self) -> float:
        """GPU memory times utilization: what vLLM may use."""
        share = default_utilization(self.version) if self.utilization is None else self.utilization
        return self.gpu.memory_gib * share

    @property
    def loaded_facts(self) -> ModelFacts:
        """The facts of the checkpoint as it is in memory: a plain one may be quantized while it is loaded."""
        wanted = self.quantization
        if self.facts.quantization is not None or wanted is None or not wanted.startswith("fp8"):
            return self.facts
        quantization = Quantization(method="fp8", bits=8)
        return self.facts.model_copy(update={"quantization": quantization, "weights_bytes": None, "loaded_bytes": None})

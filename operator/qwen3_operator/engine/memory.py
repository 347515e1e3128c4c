"""GPU memory of a server as vLLM accounts for it: weights, overhead, KV cache.

The formula was fitted to 47 starts of vLLM 0.26.0 on an H100 and on one or two H200 (tests/unit/engine/data); a
prediction names what of it was not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwen3_operator.catalog import ModelFacts, Quantization
from qwen3_operator.engine.gpu import Gpu, default_utilization, scheduler_defaults
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import SINGLE_GPU, Sharding, weights_bytes_per_rank

GIB = 1 << 30
BLOCK_TOKENS = 16
"""Tokens of one KV cache block on CUDA."""

_MEASURED_VERSION = EngineVersion.of("0.26.0")
_GRAPHS_COUNTED_SINCE = EngineVersion.of("0.21.0")
_MEASURED_WORLD_SIZES = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server is asked to hold on each GPU. None: vLLM's own default."""

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


@dataclass(frozen=True)
class Memory:
    """Prediction for the fullest rank, in GiB unless named otherwise."""

    requested_gib: float
    """GPU memory times utilization: what vLLM may use."""
    weights_gib: float
    overhead_gib: float
    kv_cache_gib: float
    """What is left for the KV cache; negative when weights and overhead alone exceed the request."""
    kv_bytes_per_token: int
    state_bytes_per_sequence: int
    """Fixed state of linear-attention layers, held at least twice for each sequence."""
    kv_tokens: int
    """Tokens of all sequences together that the KV cache holds."""
    free_at_start_gib: float
    """GPU memory left when vLLM compares it with the request: after the CUDA context and NCCL."""
    margin_gib: float
    """Half the width of what the prediction does not tell."""
    graphs_gib: float
    """CUDA graphs that some releases count and others do not."""
    unmeasured: tuple[str, ...]
    """Why the margin is wide; empty where the formula was measured."""

    def kv_gib_for(self, tokens: int) -> float:
        """KV cache that one sequence of that length takes, in whole blocks."""
        blocks = math.ceil(tokens / BLOCK_TOKENS)
        return (blocks * BLOCK_TOKENS * self.kv_bytes_per_token + 2 * self.state_bytes_per_sequence) / GIB

    def longest(self, margin_gib: float = 0.0) -> int:
        """The longest sequence, in tokens, that fits into the KV cache less a margin; 0 when none does."""
        left = (self.kv_cache_gib - margin_gib) * GIB - 2 * self.state_bytes_per_sequence
        return max(0, int(left // (BLOCK_TOKENS * self.kv_bytes_per_token)) * BLOCK_TOKENS)


def predict(load: Load) -> Memory:
    """What vLLM will print as `Available KV cache memory`, and the parts of the sum."""
    facts, sharding = _as_loaded(load.facts, load.quantization), load.sharding
    utilization = default_utilization(load.version) if load.utilization is None else load.utilization
    requested = load.gpu.memory_gib * utilization
    weights = weights_bytes_per_rank(facts, sharding, max_position=load.max_position) / GIB
    overhead = _non_torch_gib(load) + _peak_gib(load) + _counted_graphs_gib(load)
    left = requested - weights - overhead if load.kv_cache_bytes is None else load.kv_cache_bytes / GIB
    per_token = kv_bytes_per_token(facts, sharding, load.kv_cache_dtype)
    unmeasured = _unmeasured(load)
    margin = max(0.5, 0.03 * requested) if unmeasured else max(0.15, 0.01 * max(left, 0))
    counts_graphs = unmeasured and load.version >= _GRAPHS_COUNTED_SINCE and not load.enforce_eager
    return Memory(
        requested_gib=requested,
        weights_gib=weights,
        overhead_gib=overhead,
        kv_cache_gib=left,
        kv_bytes_per_token=per_token,
        state_bytes_per_sequence=_state_bytes(facts, sharding),
        kv_tokens=max(0, int(left * GIB // (BLOCK_TOKENS * per_token)) * BLOCK_TOKENS),
        free_at_start_gib=load.gpu.memory_gib - _held_before_start_gib(facts, sharding),
        margin_gib=margin,
        graphs_gib=_graphs_gib(load) if counts_graphs and not facts.is_moe else 0.0,
        unmeasured=unmeasured,
    )


def kv_bytes_per_token(facts: ModelFacts, sharding: Sharding, kv_cache_dtype: str | None) -> int:
    """KV cache bytes of one token on the fullest rank."""
    layers = math.ceil(facts.num_full_attention_layers / sharding.pipeline_parallel_size)
    heads = max(1, facts.num_key_value_heads // sharding.tensor_parallel_size)
    return 2 * layers * heads * facts.head_dim * _kv_number_bytes(kv_cache_dtype)


def _kv_number_bytes(kv_cache_dtype: str | None) -> int:
    return 1 if (kv_cache_dtype or "auto").startswith("fp8") else 2


def _as_loaded(facts: ModelFacts, quantization: str | None) -> ModelFacts:
    """The facts of a plain checkpoint that vLLM quantizes while loading it."""
    if facts.quantization is not None or quantization is None or not quantization.startswith("fp8"):
        return facts
    return facts.model_copy(update={"quantization": Quantization(method="fp8", bits=8), "weights_bytes": None})


def _batch(load: Load) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens) in effect."""
    defaults = scheduler_defaults(load.gpu, load.version)
    return load.max_num_seqs or defaults.max_num_seqs, load.max_num_batched_tokens or defaults.max_num_batched_tokens


def _non_torch_gib(load: Load) -> float:
    """Counted memory outside torch. NCCL's buffers are taken before vLLM looks, so several GPUs count less than one."""
    if load.sharding.world_size == 1:
        return 0.225
    return 0.102 if load.facts.is_moe and not load.enforce_eager else 0.066


def _peak_gib(load: Load) -> float:
    """Peak of the profiling run: the largest of logits, activations, and (first start) compilation."""
    facts = _as_loaded(load.facts, load.quantization)
    seqs, batch = _batch(load)
    tp, vocabulary, hidden = load.sharding.tensor_parallel_size, facts.vocab_size, facts.hidden_size
    if facts.is_moe:
        return 0.106 + (14.28 * seqs * vocabulary + 32 * batch * hidden) / GIB
    fp8 = facts.quantization is not None and facts.quantization.method == "fp8"
    logits = 2 * seqs * vocabulary * (1 if tp == 1 else 2 + 1 / tp) + 2.3 * batch * hidden + 0.03 * GIB
    activations = 2 * batch * (3 * facts.intermediate_size / tp + (4.5 if tp == 1 and not fp8 else 5.5) * hidden)
    compilation = 0.0 if load.enforce_eager else 2 * hidden * (vocabulary / tp + 2 * batch)
    return max(logits, activations, compilation) / GIB


def _counted_graphs_gib(load: Load) -> float:
    """CUDA graphs that 0.26 counts: those of mixture-of-experts models, 0.64 GiB for 48 layers."""
    if load.enforce_eager or not load.facts.is_moe or load.version < _GRAPHS_COUNTED_SINCE:
        return 0.0
    return 0.65 * max(1.0, load.facts.num_layers / 48)


def _graphs_gib(load: Load) -> float:
    """What the graphs of dense models really take: 0.5 (0.6B), 1.0 (8B), 1.86 (32B); 0.6 (8B) with 256 sequences."""
    seqs, _ = _batch(load)
    graphs = 0.37 + 4.55e-6 * load.facts.num_layers * load.facts.hidden_size / load.sharding.tensor_parallel_size
    return graphs * (1.0 if seqs > 256 else 0.6)


def _held_before_start_gib(facts: ModelFacts, sharding: Sharding) -> float:
    """Used on a GPU before vLLM's first look: CUDA context, and with several GPUs NCCL."""
    if sharding.world_size == 1:
        return 0.514
    return 1.936 if facts.is_moe else 1.462


def _state_bytes(facts: ModelFacts, sharding: Sharding) -> int:
    """Recurrent and convolution state of one sequence in the linear-attention layers of the fullest rank."""
    delta = facts.linear_attention
    if delta is None:
        return 0
    layers = math.ceil((facts.num_layers - facts.num_full_attention_layers) / sharding.pipeline_parallel_size)
    recurrent = delta.num_value_heads * delta.key_head_dim * delta.value_head_dim * delta.state_bytes
    channels = 2 * delta.num_key_heads * delta.key_head_dim + delta.num_value_heads * delta.value_head_dim
    convolution = channels * (delta.conv_kernel - 1) * 2
    return layers * (recurrent + convolution) // sharding.tensor_parallel_size


def _unmeasured(load: Load) -> tuple[str, ...]:
    facts, sharding = load.facts, load.sharding
    checks = (
        (load.version != _MEASURED_VERSION, f"vLLM {load.version} (measured: {_MEASURED_VERSION})"),
        (sharding.world_size not in _MEASURED_WORLD_SIZES, f"{sharding.world_size} GPUs (measured: 1 and 2)"),
        (sharding.pipeline_parallel_size > 1 and sharding.tensor_parallel_size > 1, "TP together with PP"),
        (facts.is_moe and facts.experts_per_token != 8, f"{facts.experts_per_token} experts a token (measured: 8)"),
        (facts.is_hybrid_attention, "linear-attention layers"),
        (facts.vision is not None, "a vision tower"),
        (load.gpu.source not in ("exact", "measured"), f"memory of {load.gpu.name or 'the GPU'} not measured"),
        (
            load.quantization is not None or (facts.quantization is not None and facts.quantization.method != "fp8"),
            f"quantization {load.quantization or (facts.quantization and facts.quantization.label)}",
        ),
    )
    return tuple(text for applies, text in checks if applies)

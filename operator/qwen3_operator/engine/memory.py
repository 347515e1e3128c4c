"""GPU memory of a server as vLLM accounts for it: weights, overhead, KV cache.

The constants are those of measured releases (overhead.yaml); a prediction names what of it was not measured, and its
margins are wider for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qwen3_operator.engine.kv_cache import BLOCK_TOKENS, KvLayout, kv_bytes_per_token, kv_layout
from qwen3_operator.engine.load import Kind, Load
from qwen3_operator.engine.lora import buffer_bytes
from qwen3_operator.engine.overhead import Edition, editions_for
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import weights_bytes_per_rank

__all__ = ["BLOCK_TOKENS", "GIB", "Load", "Memory", "kv_bytes_per_token", "predict"]

GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True)
class Memory:
    """Prediction for the fullest rank, in GiB unless named otherwise."""

    gpu_gib: float
    """What torch sees of one GPU."""
    requested_gib: float
    """GPU memory times utilization: what vLLM may use."""
    weights_gib: float
    overhead_gib: float
    kv_cache_gib: float
    """What is left for the KV cache; negative when weights and overhead alone exceed the request."""
    kv_tokens: int
    """Tokens of all sequences together that the KV cache holds."""
    layout: KvLayout
    free_at_start_gib: float
    """GPU memory left when vLLM compares it with the request: after the CUDA context and NCCL."""
    margin_gib: float
    """How much less than predicted the KV cache may be."""
    more_gib: float
    """How much more than predicted the KV cache may be."""
    unmeasured: tuple[str, ...]
    """Why the margin is wide; empty where the formula was measured."""

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache bytes of one token."""
        return self.layout.bytes_per_token

    @property
    def state_bytes_per_sequence(self) -> int:
        """Fixed state of linear-attention layers, held at least twice for each sequence."""
        return self.layout.state_bytes

    @property
    def least_kv_gib(self) -> float:
        """KV cache that vLLM needs whatever the length: a state for each of max_num_seqs."""
        return self.layout.least_bytes / GIB

    @property
    def most_sequences(self) -> int | None:
        """max_num_seqs whose states surely fit, where those asked for may not; None where they do, 0: none does."""
        if self.least_kv_gib <= self.kv_cache_gib - self.margin_gib:
            return None
        return max(0, int((self.kv_cache_gib - self.margin_gib) * GIB // self.layout.block_bytes))

    def kv_gib_for(self, tokens: int) -> float:
        """KV cache that vLLM needs for a sequence of that length to start."""
        return self.layout.bytes_for(tokens) / GIB

    def longest(self, margin_gib: float = 0.0) -> int:
        """The longest sequence, in tokens, that fits into the KV cache less a margin; 0 when none does."""
        return self.layout.longest((self.kv_cache_gib - margin_gib) * GIB)


def predict(load: Load) -> Memory:
    """What vLLM will print as `Available KV cache memory`, and the parts of the sum.

    For a release between two measured ones the smaller cache is reported, and ``more_gib`` reaches up to the larger.
    """
    editions = editions_for(load.version)
    sides = [_Side(edition, kind) for _, edition in editions for kind in edition.kinds(load)]
    side = max(sides, key=lambda each: each.taken_gib(load))
    weights, overhead = side.weights_gib(load), side.overhead_gib(load)
    requested = load.requested_gib
    left = requested - weights - overhead if load.kv_cache_bytes is None else load.kv_cache_bytes / GIB
    layout = kv_layout(load)
    unmeasured = tuple(dict.fromkeys(_unmeasured(load, editions)))
    margin = max(0.5, 0.03 * requested) if unmeasured else max(0.15, 0.01 * max(left, 0))
    all_reduce = side.edition.fused_all_reduce_gib(load)
    if all_reduce:
        unmeasured += ("FlashInfer's all-reduce",)
    return Memory(
        gpu_gib=load.gpu.memory_gib,
        requested_gib=requested,
        weights_gib=weights,
        overhead_gib=overhead,
        kv_cache_gib=left,
        kv_tokens=max(0, int(left * GIB // (BLOCK_TOKENS * layout.bytes_per_token)) * BLOCK_TOKENS),
        layout=layout,
        free_at_start_gib=load.gpu.memory_gib - max(e.held_gib(load.facts, load.sharding) for _, e in editions),
        margin_gib=margin + all_reduce,
        more_gib=margin + weights + overhead - min(each.taken_gib(load) for each in sides),
        unmeasured=unmeasured,
    )


@dataclass(frozen=True)
class _Side:
    """Constants that may hold for a load."""

    edition: Edition
    kind: Kind

    def weights_gib(self, load: Load) -> float:
        workspace = int(self.edition.fp8_workspace_mib * _MIB)
        weights = weights_bytes_per_rank(
            load.loaded_facts, load.sharding, max_position=load.max_position, fp8_workspace_bytes=workspace
        )
        return weights / GIB

    def overhead_gib(self, load: Load) -> float:
        buffers = buffer_bytes(load.facts, load.sharding, load.lora) / GIB if load.lora else 0.0
        return self.edition.overhead_gib(load, self.kind) + buffers

    def taken_gib(self, load: Load) -> float:
        return self.weights_gib(load) + self.overhead_gib(load)


def _unmeasured(load: Load, editions: tuple[tuple[EngineVersion, Edition], ...]) -> Iterator[str]:
    facts = load.facts
    if editions[0][0].series != load.version.series:
        measured = " and ".join(str(version) for version, _ in editions)
        larger = "; the larger sum of both" if len(editions) > 1 else ""
        yield f"vLLM {load.version} (measured: {measured}{larger})"
    for _, edition in editions:
        yield from edition.unmeasured(load)
    if facts.is_moe and facts.experts_per_token != 8:
        yield f"{facts.experts_per_token} experts a token (measured: 8)"
    if facts.is_hybrid_attention:
        yield "linear-attention layers"
    if facts.vision is not None:
        yield "a vision tower"
    if facts.audio is not None:
        yield "an audio tower"
    if load.gpu.source not in ("exact", "measured"):
        yield f"memory of {load.gpu.name or 'the GPU'} not measured"
    if load.lora is not None:
        yield f"LoRA adapters (room for {load.lora.max_loras} of rank {load.lora.max_rank} is counted)"
    yield from load.extras

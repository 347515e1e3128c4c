"""What sequences take of the KV cache: keys and values in blocks of tokens, and the fixed state of linear attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.weights import Sharding

BLOCK_TOKENS = 16
"""Tokens of one KV cache block on CUDA."""


@dataclass(frozen=True)
class KvLayout:
    """Bytes on the fullest rank."""

    bytes_per_token: int
    block_tokens: int
    """Tokens of one block: 16, or as many as take the room of one layer's state."""
    state_bytes: int
    """Fixed state of one sequence in its linear-attention layers; 0 without such layers."""
    least_bytes: int
    """What the cache must have whatever the length: one block for each of max_num_seqs, where there are states."""
    block_bytes: int
    """One block of all layers of a group."""

    def bytes_for(self, tokens: int) -> int:
        """What one sequence takes: whole blocks, and its state twice (vLLM copies it at the end of a block)."""
        blocks = math.ceil(tokens / self.block_tokens)
        return max(self.least_bytes, blocks * self.block_tokens * self.bytes_per_token + 2 * self.state_bytes)

    def longest(self, size: float) -> int:
        """The longest sequence, in tokens, that fits into a cache of that many bytes; 0 when none does."""
        if size < self.least_bytes:
            return 0
        left = size - 2 * self.state_bytes
        return max(0, int(left // (self.block_tokens * self.bytes_per_token)) * self.block_tokens)


def kv_layout(load: Load) -> KvLayout:
    """The layout of one server's cache."""
    facts, sharding = load.loaded_facts, load.sharding
    per_token = kv_bytes_per_token(facts, sharding, load.kv_cache_dtype)
    full = math.ceil(facts.num_full_attention_layers / sharding.pipeline_parallel_size)
    linear = math.ceil((facts.num_layers - facts.num_full_attention_layers) / sharding.pipeline_parallel_size)
    if facts.linear_attention is None or not linear:
        return KvLayout(per_token, BLOCK_TOKENS, 0, 0, per_token * BLOCK_TOKENS)
    state = _state_bytes_of_layer(facts, sharding)
    layer_token = per_token // full
    tokens = math.ceil(state / (BLOCK_TOKENS * layer_token)) * BLOCK_TOKENS
    # A block has one page for each layer of a group, and all groups have as many layers as the smaller kind. vLLM does
    # not start when max_num_seqs exceeds the blocks (config/compilation.py), unless it captures no graphs.
    block = min(full, linear) * tokens * layer_token
    return KvLayout(per_token, tokens, linear * state, 0 if load.enforce_eager else load.sequences * block, block)


def kv_bytes_per_token(facts: ModelFacts, sharding: Sharding, kv_cache_dtype: str | None) -> int:
    """KV cache bytes of one token on the fullest rank."""
    layers = math.ceil(facts.num_full_attention_layers / sharding.pipeline_parallel_size)
    heads = max(1, facts.num_key_value_heads // sharding.tensor_parallel_size)
    return 2 * layers * heads * facts.head_dim * _number_bytes(kv_cache_dtype)


def _number_bytes(kv_cache_dtype: str | None) -> int:
    return 1 if (kv_cache_dtype or "auto").startswith("fp8") else 2


def _state_bytes_of_layer(facts: ModelFacts, sharding: Sharding) -> int:
    """Recurrent and convolution state of one sequence in one linear-attention layer."""
    delta = facts.linear_attention
    assert delta is not None
    recurrent = delta.num_value_heads * delta.key_head_dim * delta.value_head_dim * delta.state_bytes
    channels = 2 * delta.num_key_heads * delta.key_head_dim + delta.num_value_heads * delta.value_head_dim
    convolution = channels * (delta.conv_kernel - 1) * 2
    return (recurrent + convolution) // sharding.tensor_parallel_size

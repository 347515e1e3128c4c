"""Bytes of weights that one GPU holds: the tensors as vLLM allocates them, split over the ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from qwen3_operator.catalog import ModelFacts, Quantization

MIB = 1 << 20

_ALLOCATION = 2 * MIB
_ROUNDED_FROM = 10 * MIB
"""torch's CUDA allocator gives a tensor of 10 MiB or more a segment of its own, in steps of 2 MiB."""

_ROPE_NUMBER_BYTES = 2
_AWQ_MORE_PER_GROUP = 1.6
"""Bytes of memory beyond the file for each group of an AWQ checkpoint: 32B-AWQ took 18.59 GiB on vLLM 0.33, and its
tensors are 18.23. Perhaps zero points that are held in 16 bits."""

_VOCABULARY_PADDING = 64


@dataclass(frozen=True)
class Tensor:
    """Equal tensors of one rank."""

    bytes: float
    """Of one, in the file."""
    count: int = 1
    more: float = 0
    """Of one, in memory beyond the file."""

    @property
    def allocated(self) -> float:
        """Bytes as the allocator hands them out."""
        size = self.bytes + self.more
        if size < _ROUNDED_FROM:
            return size * self.count
        return math.ceil(size / _ALLOCATION) * _ALLOCATION * self.count


@dataclass(frozen=True)
class Sharding:
    """How a model is split. ``expert_parallel``: whole experts are spread over the tensor-parallel ranks."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    expert_parallel: bool = False

    @property
    def world_size(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


SINGLE_GPU = Sharding()


def weights_bytes_per_rank(
    facts: ModelFacts, sharding: Sharding, *, max_position: int | None = None, fp8_workspace_bytes: int = 0
) -> float:
    """Bytes of weights on the fullest rank, allocator rounding and rope cache included.

    ``max_position``: positions of the rope cache where an override sets them, else the config's.
    ``fp8_workspace_bytes``: what some releases take beside the weights of an FP8 checkpoint.
    What the files hold beats what the shape explains, in either direction: layers left unquantized, a format that
    nobody here knows. vLLM loads no more than there is.
    """
    stages = range(sharding.pipeline_parallel_size)
    rank = max(sum(tensor.allocated for tensor in _stage(facts, sharding, stage)) for stage in stages)
    rank *= _known_over_derived(facts)
    rope_cache = (max_position or facts.max_position_embeddings) * facts.head_dim * _ROPE_NUMBER_BYTES
    fp8 = fp8_workspace_bytes if facts.quantization is not None and facts.quantization.method == "fp8" else 0
    return rank + rope_cache + fp8


def parameter_bytes(facts: ModelFacts) -> float:
    """Plain sum of all tensors of a checkpoint, in bytes: what its files should weigh."""
    return sum(tensor.bytes * tensor.count for tensor in _stage(facts, Sharding(), 0))


_EXPLAINED = 0.02
"""Share by which the shape and the files differ anyway: norms, biases, positions, padding."""


def _known_over_derived(facts: ModelFacts) -> float:
    """Bytes that the files hold over bytes that the shape explains; 1 where they agree, or only the shape is known.

    The size of the files alone is more than what is loaded where a tied lm_head or MTP layers are stored, or float32.
    """
    shape = parameter_bytes(facts)
    if facts.loaded_bytes is not None:
        ratio = facts.loaded_bytes / shape
        return 1.0 if 1 - _EXPLAINED <= ratio <= 1 else ratio
    if facts.weights_bytes is None:
        return 1.0
    copy = _embedding(facts, 1).bytes if facts.tie_word_embeddings else 0
    stored = facts.weights_bytes / (2 if facts.dtype == "float32" else 1)  # vLLM loads it in 16 bits
    if stored < _LEAST_OF_SHAPE * shape:  # fewer bits than its config seems to say
        return stored / shape
    if stored - shape <= max(copy, _EXPLAINED * shape) * 1.01 or facts.mtp_layers:
        return 1.0
    return stored / shape


_LEAST_OF_SHAPE = 0.9
"""Files of no known checkpoint weigh less of what their shape comes to (0.97)."""


def _stage(facts: ModelFacts, sharding: Sharding, stage: int) -> Iterator[Tensor]:
    """The tensors of one pipeline stage on one tensor-parallel rank; stage 0 is the first."""
    tp, pp = sharding.tensor_parallel_size, sharding.pipeline_parallel_size
    share = math.ceil(facts.num_layers / pp) / facts.num_layers
    full = math.ceil(facts.num_full_attention_layers * share)
    moe = math.ceil(facts.num_moe_layers * share)
    layers = math.ceil(facts.num_layers * share)
    if stage == 0:
        yield _embedding(facts, tp)
        yield from _vision(facts, tp)
        yield from _audio(facts)
    if stage == pp - 1 and not facts.tie_word_embeddings:
        yield _embedding(facts, tp)
    yield from _attention(facts, tp, full)
    yield from _linear_attention(facts, tp, layers - full)
    yield from _mlp(facts, tp, facts.intermediate_size, layers - moe)
    yield from _experts(facts, sharding, moe)
    yield Tensor(2 * 2 * facts.hidden_size, layers)  # norms


def _embedding(facts: ModelFacts, tp: int) -> Tensor:
    rows = math.ceil(facts.vocab_size / _VOCABULARY_PADDING) * _VOCABULARY_PADDING
    return Tensor(2 * rows / tp * facts.hidden_size)


def _linear(outputs: float, inputs: float, count: int, quantization: Quantization | None) -> Iterator[Tensor]:
    """A weight of ``outputs x inputs`` and its scales."""
    if count <= 0 or outputs <= 0 or inputs <= 0:
        return
    numbers = outputs * inputs
    if quantization is None:
        yield Tensor(2 * numbers, count)
        return
    yield Tensor(numbers * quantization.bits / 8, count)
    if quantization.block is not None:
        yield Tensor(4 * math.ceil(outputs / quantization.block[0]) * math.ceil(inputs / quantization.block[1]), count)
    elif quantization.group_size is not None:
        groups = numbers / quantization.group_size
        more = _AWQ_MORE_PER_GROUP * groups if quantization.method == "awq" else 0
        yield Tensor(groups * (2 + quantization.bits / 8), count, more)  # scale and zero point
    else:
        yield Tensor(4 * outputs, count)


def _attention(facts: ModelFacts, tp: int, layers: int) -> Iterator[Tensor]:
    query = facts.num_attention_heads / tp * facts.head_dim
    key_value = max(facts.num_key_value_heads / tp, 1) * facts.head_dim
    gate = query if facts.attention_output_gate else 0
    yield from _linear(query + gate + 2 * key_value, facts.hidden_size, layers, facts.quantization)
    yield from _linear(facts.hidden_size, query, layers, facts.quantization)


def _linear_attention(facts: ModelFacts, tp: int, layers: int) -> Iterator[Tensor]:
    delta = facts.linear_attention
    if delta is None:
        return
    keys = delta.num_key_heads * delta.key_head_dim / tp
    values = delta.num_value_heads * delta.value_head_dim / tp
    yield from _linear(2 * keys + 2 * values, facts.hidden_size, layers, facts.quantization)
    yield from _linear(2 * delta.num_value_heads / tp, facts.hidden_size, layers, None)
    yield from _linear(2 * keys + values, delta.conv_kernel, layers, None)
    yield from _linear(facts.hidden_size, values, layers, facts.quantization)


def _mlp(facts: ModelFacts, tp: int, width: int, layers: int) -> Iterator[Tensor]:
    yield from _linear(2 * width / tp, facts.hidden_size, layers, facts.quantization)
    yield from _linear(facts.hidden_size, width / tp, layers, facts.quantization)


def _experts(facts: ModelFacts, sharding: Sharding, layers: int) -> Iterator[Tensor]:
    tp = sharding.tensor_parallel_size
    experts = math.ceil(facts.experts / tp) if sharding.expert_parallel else facts.experts
    width = facts.moe_intermediate_size / (1 if sharding.expert_parallel else tp)
    yield from _linear(experts * 2 * width, facts.hidden_size, layers, facts.quantization)
    yield from _linear(experts * facts.hidden_size, width, layers, facts.quantization)
    yield from _linear(facts.experts, facts.hidden_size, layers, None)  # router
    yield from _mlp(facts, tp, facts.shared_expert_intermediate_size, layers)


def _vision(facts: ModelFacts, tp: int) -> Iterator[Tensor]:
    """The vision tower in bfloat16; small against the language model, so its position table and biases are left out."""
    tower = facts.vision
    if tower is None:
        return
    hidden = tower.hidden_size
    yield from _linear(3 * hidden / tp, hidden, tower.depth, None)
    yield from _linear(hidden, hidden / tp, tower.depth, None)
    yield from _linear(tower.intermediate_size / tp, 2 * hidden, tower.depth, None)
    merged = hidden * tower.spatial_merge_size**2
    mergers = 1 + tower.deepstack_levels
    yield from _linear(merged / tp, merged, mergers, None)
    yield from _linear(tower.out_hidden_size, merged / tp, mergers, None)


def _audio(facts: ModelFacts) -> Iterator[Tensor]:
    """The audio tower in bfloat16, whole on every rank: taken so, on the safe side. Its convolutions are left out."""
    tower = facts.audio
    if tower is None:
        return
    hidden = tower.hidden_size
    yield from _linear(4 * hidden, hidden, tower.layers, None)
    yield from _linear(2 * hidden, tower.intermediate_size, tower.layers, None)

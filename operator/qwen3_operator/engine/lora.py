"""LoRA in an engine: the room that vLLM keeps for adapters, whether one is there or not.

vLLM makes its buffers at the start, for every linear layer and for `max_loras` adapters of `max_lora_rank`
(lora/layers of 0.32): of a layer split by columns A is whole on each GPU and B is split, of one split by rows it is the
other way round. Read in the source; one start with them was measured (8B, tests/perf/gpu): the fit says so, and its
margin is wide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwen3_operator.api.engine import LORA_RANKS
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.weights import SINGLE_GPU, Sharding

_NUMBER_BYTES = 2
_MOST_CPU_LORAS = 32
FLAGS = ("--enable-lora", "--max-lora-rank", "--max-loras", "--max-cpu-loras", "--lora-modules")


@dataclass(frozen=True)
class Lora:
    """For which adapters an engine has room."""

    max_rank: int
    max_loras: int
    """Adapters of one step."""

    @property
    def max_cpu_loras(self) -> int:
        """Adapters that are kept in the host's memory: as many as a spec can name, so that none is read anew."""
        return max(_MOST_CPU_LORAS, self.max_loras)


def rank_for(needed: int) -> int:
    """The smallest --max-lora-rank for adapters of this rank; the largest there is where none is enough."""
    return next((rank for rank in LORA_RANKS if rank >= needed), LORA_RANKS[-1])


def lora_in(command: Sequence[str]) -> Lora | None:
    """The room for adapters that a server's command line makes."""
    values = {flag: command[at + 1] for flag in FLAGS[1:3] if flag in command[:-1] and (at := command.index(flag))}
    if len(values) < 2 or not all(value.isdecimal() for value in values.values()):
        return None
    return Lora(int(values["--max-lora-rank"]), int(values["--max-loras"]))


def adapter_bytes(facts: ModelFacts, rank: int) -> float:
    """One adapter of every module of the model, in the host's memory."""
    return buffer_bytes(facts, SINGLE_GPU, Lora(rank, 1))


def buffer_bytes(facts: ModelFacts, sharding: Sharding, lora: Lora) -> float:
    """GPU memory that the buffers take on the fullest rank."""
    layers = -(-facts.num_layers // sharding.pipeline_parallel_size)
    moe = round(layers * facts.num_moe_layers / facts.num_layers)
    full = -(-layers * facts.num_full_attention_layers // facts.num_layers)
    numbers = full * sum(_attention(facts, sharding)) + (layers - full) * sum(_linear_attention(facts, sharding))
    numbers += (layers - moe) * sum(_mlp(facts, sharding, facts.intermediate_size))
    numbers += moe * sum(_experts(facts, sharding))
    numbers += 2 * (facts.vocab_size + facts.hidden_size)  # embedding and lm_head
    return _NUMBER_BYTES * lora.max_loras * lora.max_rank * numbers


def _columns(inputs: float, outputs: float, tp: int, slices: int = 1) -> float:
    return slices * inputs + outputs / tp


def _rows(inputs: float, outputs: float, tp: int) -> float:
    return inputs / tp + outputs


def _attention(facts: ModelFacts, sharding: Sharding) -> Iterator[float]:
    tp, hidden = sharding.tensor_parallel_size, facts.hidden_size
    query = facts.num_attention_heads * facts.head_dim
    key_value = max(facts.num_key_value_heads, tp) * facts.head_dim
    yield _columns(hidden, query * (2 if facts.attention_output_gate else 1) + 2 * key_value, tp, slices=3)
    yield _rows(query, hidden, tp)


def _linear_attention(facts: ModelFacts, sharding: Sharding) -> Iterator[float]:
    delta, tp = facts.linear_attention, sharding.tensor_parallel_size
    if delta is None:
        return
    keys, values = delta.num_key_heads * delta.key_head_dim, delta.num_value_heads * delta.value_head_dim
    yield _columns(facts.hidden_size, 2 * keys + 2 * values, tp, slices=4)
    yield _columns(facts.hidden_size, 2 * delta.num_value_heads, tp, slices=2)
    yield _rows(values, facts.hidden_size, tp)


def _mlp(facts: ModelFacts, sharding: Sharding, width: float) -> Iterator[float]:
    if width:
        yield _columns(facts.hidden_size, 2 * width, sharding.tensor_parallel_size, slices=2)
        yield _rows(width, facts.hidden_size, sharding.tensor_parallel_size)


def _experts(facts: ModelFacts, sharding: Sharding) -> Iterator[float]:
    tp = sharding.tensor_parallel_size
    experts = -(-facts.experts // tp) if sharding.expert_parallel else facts.experts
    width = facts.moe_intermediate_size / (1 if sharding.expert_parallel else tp)
    yield experts * (2 * (facts.hidden_size + width) + width + facts.hidden_size)
    yield facts.hidden_size + facts.experts  # router
    yield from _mlp(facts, sharding, facts.shared_expert_intermediate_size)

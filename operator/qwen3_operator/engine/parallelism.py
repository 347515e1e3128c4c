"""Which ways to split a model over GPUs vLLM accepts, before it is asked. The rules were read in its source."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

TP_FIELD = "spec.engine.tensorParallelSize"
PP_FIELD = "spec.engine.pipelineParallelSize"
EP_FIELD = "spec.engine.enableExpertParallel"

_MAX_TP = 64

_MOE_SCALES_REFINED_SINCE = EngineVersion.of("0.29.0")
"""From here on FP8 experts narrower than a scale block are refined down to blocks of 32 (fused_moe/oracle/fp8.py)."""
_SMALLEST_REFINED_BLOCK = 32


def check_parallelism(
    facts: ModelFacts, version: EngineVersion, sharding: Sharding, gpus: int | None = None
) -> list[Problem]:
    """Why vLLM would refuse this split; empty when it would not. ``gpus``: GPUs the pod requests, when set by hand."""
    problems = [
        Problem(Reason.ILLEGAL_PARALLELISM, text, field) for field, text in _complaints(facts, version, sharding)
    ]
    if gpus is not None and sharding.world_size != gpus:
        problems.append(
            Problem(
                Reason.ILLEGAL_PARALLELISM,
                f"tensorParallelSize {sharding.tensor_parallel_size} × pipelineParallelSize "
                f"{sharding.pipeline_parallel_size} needs {sharding.world_size} GPUs, and {gpus} are requested",
                TP_FIELD,
            )
        )
    return problems


def legal_tensor_parallel_sizes(
    facts: ModelFacts, version: EngineVersion, *, expert_parallel: bool = False, limit: int = _MAX_TP
) -> tuple[int, ...]:
    """Powers of two that vLLM accepts as tensor parallel size, up to ``limit``, ascending."""
    sizes = [1 << power for power in range(_MAX_TP.bit_length()) if 1 << power <= limit]
    ep = expert_parallel
    return tuple(
        tp for tp in sizes if not any(_complaints(facts, version, Sharding(tp, expert_parallel=ep and facts.is_moe)))
    )


def _complaints(facts: ModelFacts, version: EngineVersion, sharding: Sharding) -> Iterator[tuple[str, str]]:
    """(field, words) for each broken rule."""
    tp, pp = sharding.tensor_parallel_size, sharding.pipeline_parallel_size
    if tp < 1 or pp < 1:
        yield TP_FIELD, "tensorParallelSize and pipelineParallelSize start at 1"
        return
    if sharding.expert_parallel and not facts.is_moe:
        yield EP_FIELD, "enableExpertParallel needs a model with experts, and this one is dense: remove the field"
    if pp > facts.num_layers:
        yield PP_FIELD, f"pipelineParallelSize {pp} is more than the model's {facts.num_layers} layers"
    if facts.num_attention_heads % tp:
        yield (
            TP_FIELD,
            f"tensorParallelSize {tp} does not divide the model's {facts.num_attention_heads} attention heads",
        )
        return  # the widths below would only repeat it
    key_value = facts.num_key_value_heads
    if key_value % tp and tp % key_value:
        yield (
            TP_FIELD,
            f"tensorParallelSize {tp} neither divides the model's {key_value} key-value heads nor is a multiple",
        )
    if facts.linear_attention is not None and facts.linear_attention.num_key_heads % tp:
        heads = facts.linear_attention.num_key_heads
        yield TP_FIELD, f"tensorParallelSize {tp} does not divide the {heads} key heads of the linear-attention layers"
    for name, width, group in _row_parallel_widths(facts, sharding):
        if width % tp:
            yield TP_FIELD, f"tensorParallelSize {tp} does not divide the {name} of {width}"
        elif group > 1 and (width // tp) % group and tp > 1:
            assert facts.quantization is not None
            yield (
                TP_FIELD,
                f"with tensorParallelSize {tp} each GPU gets {width // tp} of the {name} of {width}, which is no "
                f"multiple of the {group} that share a scale in this {facts.quantization.label} checkpoint",
            )
    yield from _expert_complaints(facts, version, sharding)


def _scale_group(facts: ModelFacts) -> int:
    """Numbers along the input dimension that share a scale; 1: any split will do."""
    quantization = facts.quantization
    if quantization is None:
        return 1
    return quantization.block[1] if quantization.block else quantization.group_size or 1


def _row_parallel_widths(facts: ModelFacts, sharding: Sharding) -> Iterator[tuple[str, int, int]]:
    """(name, width, scale group) of every linear layer whose input is split over the ranks, experts left out."""
    group = _scale_group(facts)
    yield "attention output width", facts.num_attention_heads * facts.head_dim, group
    if facts.num_moe_layers < facts.num_layers:
        yield "intermediate size", facts.intermediate_size, group
    if facts.shared_expert_intermediate_size:
        yield "shared expert's intermediate size", facts.shared_expert_intermediate_size, group
    if facts.linear_attention is not None:
        delta = facts.linear_attention
        yield "linear-attention value width", delta.num_value_heads * delta.value_head_dim, group


def _expert_complaints(facts: ModelFacts, version: EngineVersion, sharding: Sharding) -> Iterator[tuple[str, str]]:
    tp, width = sharding.tensor_parallel_size, facts.moe_intermediate_size
    if not facts.is_moe or sharding.expert_parallel or tp == 1:  # expert parallelism keeps experts whole
        return
    if width % tp:
        yield TP_FIELD, f"tensorParallelSize {tp} does not divide the experts' intermediate size of {width}"
        return
    shard, group = width // tp, _scale_group(facts)
    if shard % group == 0:
        return
    assert facts.quantization is not None
    refined = facts.quantization.block is not None and version >= _MOE_SCALES_REFINED_SINCE
    if refined and gcd(group, shard, facts.hidden_size) >= _SMALLEST_REFINED_BLOCK:
        return
    newer = " or vLLM 0.29" if facts.quantization.block is not None and version < _MOE_SCALES_REFINED_SINCE else ""
    yield (
        TP_FIELD,
        f"with tensorParallelSize {tp} each GPU gets {shard} of the experts' intermediate size of {width}, which is no "
        f"multiple of the {group} that share a scale in this {facts.quantization.label} checkpoint: use a smaller "
        f"size, enableExpertParallel{newer}",
    )

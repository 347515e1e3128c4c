"""Preflight: will this server start on these GPUs? Decided before one is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.memory import Load, Memory, predict
from qwen3_operator.engine.parallelism import legal_tensor_parallel_sizes
from qwen3_operator.engine.weights import Sharding

Verdict = Literal["Fits", "Tight", "DoesNotFit", "Unknown"]

_MOST_GPUS_OF_A_NODE = 8


@dataclass(frozen=True)
class FitReport:
    """The verdict, and the numbers of the fullest GPU in GiB."""

    verdict: Verdict
    message: str
    memory: Memory | None = None
    needed_kv_gib: float | None = None
    """KV cache of one sequence of the full length."""
    max_model_len_that_fits: int | None = None
    """Longest sequence that surely fits, up to the length that the model can have; None where unknown."""
    smallest_tensor_parallel_size: int | None = None
    """Smallest legal TP, up to 8, with which the length surely fits; None where none does, or unknown."""


def preflight(
    load: Load | None, max_model_len: int, *, unknown: str = "", gpus_per_node: int = _MOST_GPUS_OF_A_NODE
) -> FitReport:
    """Judge a load. ``load`` None: ``unknown`` says what is missing (the GPU's memory, the model's config.json).

    ``gpus_per_node``: the largest tensor parallel size worth proposing.
    """
    if load is None:
        return FitReport("Unknown", f"whether it fits is not known: {unknown}")
    memory = predict(load)
    report = FitReport(
        verdict=_verdict(load, memory, max_model_len),
        message="",
        memory=memory,
        needed_kv_gib=memory.kv_gib_for(max_model_len),
        max_model_len_that_fits=min(_longest(load, memory), _own_length(load, max_model_len)),
        smallest_tensor_parallel_size=_smallest_tensor_parallel_size(load, max_model_len, gpus_per_node),
    )
    return replace(report, message=_message(load, report, max_model_len))


def _verdict(load: Load, memory: Memory, max_model_len: int) -> Verdict:
    needed = memory.kv_gib_for(max_model_len)
    if load.kv_cache_bytes is not None:
        return _verdict_of_given_cache(memory, needed)
    if memory.requested_gib > memory.free_at_start_gib + memory.more_gib:
        return "DoesNotFit"
    if needed > memory.kv_cache_gib + memory.more_gib:
        return "DoesNotFit"
    if needed > memory.kv_cache_gib - memory.margin_gib or memory.requested_gib > memory.free_at_start_gib:
        return "Tight"
    return "Fits"


def _verdict_of_given_cache(memory: Memory, needed: float) -> Verdict:
    """--kv-cache-memory-bytes says exactly what the cache has; only whether it finds room is a prediction."""
    if needed > memory.kv_cache_gib or _taken_gib(memory) > memory.free_at_start_gib + memory.more_gib:
        return "DoesNotFit"
    return "Fits" if _taken_gib(memory) <= memory.free_at_start_gib - memory.margin_gib else "Tight"


def _taken_gib(memory: Memory) -> float:
    return memory.weights_gib + memory.overhead_gib + memory.kv_cache_gib


def _own_length(load: Load, max_model_len: int) -> int:
    """The longest that the model can be served with, as far as it was asked for: YaRN is not proposed."""
    return max(load.max_position or 0, load.facts.max_position_embeddings, max_model_len)


def _longest(load: Load, memory: Memory) -> int:
    """The longest sequence that surely fits, 0 where no length does."""
    if load.kv_cache_bytes is not None:
        finds_room = _taken_gib(memory) <= memory.free_at_start_gib - memory.margin_gib
        return memory.longest() if finds_room else 0
    return memory.longest(memory.margin_gib) if memory.requested_gib <= memory.free_at_start_gib else 0


def _smallest_tensor_parallel_size(load: Load, max_model_len: int, most: int) -> int | None:
    sizes = legal_tensor_parallel_sizes(
        load.facts, load.version, expert_parallel=load.sharding.expert_parallel, limit=most
    )
    for size in sizes:
        split = Sharding(size, 1, load.sharding.expert_parallel and size > 1)
        if _fits(replace(load, sharding=split), max_model_len):
            return size
    return None


def _fits(load: Load, max_model_len: int) -> bool:
    return _verdict(load, predict(load), max_model_len) == "Fits"


def _message(load: Load, report: FitReport, max_model_len: int) -> str:
    memory, needed = report.memory, report.needed_kv_gib
    assert memory is not None and needed is not None
    gpus, size = load.sharding.world_size, f"{load.gpu.memory_gib:.1f} GiB"
    where = f"a GPU with {size}" if gpus == 1 else f"each of {gpus} GPUs with {size}"
    if load.gpu.sharers > 1:
        where += f" that {load.gpu.sharers} servers share"
    states = memory.least_kv_gib == needed
    what = f"the states of maxNumSeqs {load.sequences} need" if states else f"maxModelLen {max_model_len} needs"
    numbers = (
        f"of the {memory.requested_gib:.1f} GiB vLLM may use on {where}, weights take {memory.weights_gib:.2f}, "
        f"overhead {memory.overhead_gib:.2f}, which leaves {max(memory.kv_cache_gib, 0):.2f} GiB of KV cache "
        f"({memory.kv_tokens} tokens of {memory.kv_bytes_per_token} B); {what} {needed:.2f} GiB"
    )
    parts = [f"{_VERDICT_WORDS[report.verdict]}: {numbers}"]
    if report.verdict in ("Tight", "DoesNotFit"):
        parts.append(
            f"Surely fits: {' or '.join([*_remedies(load, report, max_model_len)] or ['GPUs with more memory'])}"
        )
        if load.facts.quantization is None:
            parts.append("An FP8 or AWQ checkpoint takes less")
    if memory.unmeasured:
        widths = f"{memory.margin_gib:.1f} GiB less or {memory.more_gib:.1f} more"
        parts.append(f"It may be {widths}: not measured for {', '.join(memory.unmeasured)}")
    return ". ".join(parts)


_VERDICT_WORDS = {"Fits": "fits", "Tight": "may or may not fit", "DoesNotFit": "does not fit"}
_LENGTH_WORTH_NAMING = 1024


def _remedies(load: Load, report: FitReport, max_model_len: int) -> Iterator[str]:
    """Changes of one or two values, each tried: with any of them the verdict is Fits."""
    memory = report.memory
    assert memory is not None
    if load.kv_cache_bytes is None and memory.requested_gib > memory.free_at_start_gib:
        yield from _lower_utilization(load, memory, max_model_len)
    if report.max_model_len_that_fits and report.max_model_len_that_fits >= _LENGTH_WORTH_NAMING:
        yield f"maxModelLen up to {report.max_model_len_that_fits}"
    fewer = memory.most_sequences
    if fewer and _fits(replace(load, max_num_seqs=fewer), max_model_len):
        yield f"maxNumSeqs up to {fewer}"
    if load.lora is not None and load.lora.max_loras > 1:
        fewer_adapters = replace(load, lora=replace(load.lora, max_loras=1))
        if _fits(fewer_adapters, max_model_len):
            yield "maxLoras 1"
    smallest = report.smallest_tensor_parallel_size
    if smallest is not None and smallest > load.sharding.tensor_parallel_size:
        yield f"tensorParallelSize {smallest}"


def _lower_utilization(load: Load, memory: Memory, max_model_len: int) -> Iterator[str]:
    """Asking for no more than is free at the start, and a length that then fits."""
    most = int(100 * memory.free_at_start_gib / load.gpu.memory_gib)
    if most < 1:
        return
    lower = replace(load, utilization=most / 100)
    longest = min(_longest(lower, predict(lower)), max_model_len)
    if longest < min(_LENGTH_WORTH_NAMING, max_model_len):
        return
    shorter = "" if longest == max_model_len else f" with maxModelLen up to {longest}"
    yield f"gpuMemoryUtilizationPercent {most}{shorter} (only {memory.free_at_start_gib:.1f} GiB are free at start)"


def missing_for_fit(facts: ModelFacts | None, gpu: Gpu | None, label: str = "nvidia.com/gpu.memory") -> str:
    """Why a load cannot be judged, in words; empty when it can. ``label``: the one that would have the memory."""
    if facts is None:
        return "the model's config.json is not read yet"
    if gpu is None:
        words = f" (label {label})" if label else ""
        return f"no node that a server may land on tells its GPU memory{words}; set spec.gpu.memory"
    return ""

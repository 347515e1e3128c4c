"""Preflight: will this server start on these GPUs? Decided before one is taken."""

from __future__ import annotations

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
    """Longest sequence that surely fits; None where unknown."""
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
    needed = memory.kv_gib_for(max_model_len)
    report = FitReport(
        verdict=_verdict(load, memory, needed),
        message="",
        memory=memory,
        needed_kv_gib=needed,
        max_model_len_that_fits=memory.longest(memory.margin_gib + memory.graphs_gib),
        smallest_tensor_parallel_size=_smallest_tensor_parallel_size(load, max_model_len, gpus_per_node),
    )
    return replace(report, message=_message(load, report, max_model_len))


def _verdict(load: Load, memory: Memory, needed: float) -> Verdict:
    if load.kv_cache_bytes is not None:
        return _verdict_of_given_cache(memory, needed)
    if memory.requested_gib > memory.free_at_start_gib + memory.margin_gib:
        return "DoesNotFit"
    if memory.kv_cache_gib <= 0 and memory.kv_cache_gib < -memory.margin_gib:
        return "DoesNotFit"
    if needed > memory.kv_cache_gib + memory.margin_gib:
        return "DoesNotFit"
    if needed > memory.kv_cache_gib - memory.margin_gib - memory.graphs_gib:
        return "Tight"
    if memory.requested_gib > memory.free_at_start_gib:
        return "Tight"
    return "Fits"


def _verdict_of_given_cache(memory: Memory, needed: float) -> Verdict:
    """--kv-cache-memory-bytes says exactly what the cache has; only whether it finds room is a prediction."""
    taken = memory.weights_gib + memory.overhead_gib + memory.kv_cache_gib
    if needed > memory.kv_cache_gib or taken > memory.free_at_start_gib + memory.margin_gib:
        return "DoesNotFit"
    return "Fits" if taken <= memory.free_at_start_gib - memory.margin_gib else "Tight"


def _smallest_tensor_parallel_size(load: Load, max_model_len: int, most: int) -> int | None:
    sizes = legal_tensor_parallel_sizes(
        load.facts, load.version, expert_parallel=load.sharding.expert_parallel, limit=most
    )
    for size in sizes:
        split = Sharding(size, 1, load.sharding.expert_parallel and size > 1)
        candidate = replace(load, sharding=split)
        memory = predict(candidate)
        if _verdict(candidate, memory, memory.kv_gib_for(max_model_len)) == "Fits":
            return size
    return None


def _message(load: Load, report: FitReport, max_model_len: int) -> str:
    memory, needed = report.memory, report.needed_kv_gib
    assert memory is not None and needed is not None
    gpus, size = load.sharding.world_size, f"{load.gpu.memory_gib:.1f} GiB"
    where = f"a GPU with {size}" if gpus == 1 else f"each of {gpus} GPUs with {size}"
    numbers = (
        f"of the {memory.requested_gib:.1f} GiB vLLM may use on {where}, weights take {memory.weights_gib:.2f}, "
        f"overhead {memory.overhead_gib:.2f}, which leaves {max(memory.kv_cache_gib, 0):.2f} GiB of KV cache "
        f"({memory.kv_tokens} tokens of {memory.kv_bytes_per_token} B); "
        f"maxModelLen {max_model_len} needs {needed:.2f} GiB"
    )
    parts = [f"{_VERDICT_WORDS[report.verdict]}: {numbers}"]
    if report.verdict in ("Tight", "DoesNotFit"):
        parts.append(_remedy(load, report))
    if memory.unmeasured:
        parts.append(f"Estimate within ±{memory.margin_gib:.1f} GiB: not measured for {', '.join(memory.unmeasured)}")
    return ". ".join(parts)


_VERDICT_WORDS = {"Fits": "fits", "Tight": "may or may not fit", "DoesNotFit": "does not fit"}


def _remedy(load: Load, report: FitReport) -> str:
    memory = report.memory
    assert memory is not None
    ways = []
    if load.kv_cache_bytes is None and memory.requested_gib > memory.free_at_start_gib:
        most = int(100 * (memory.free_at_start_gib - memory.margin_gib) / load.gpu.memory_gib)
        ways.append(f"gpuMemoryUtilizationPercent {most} (only {memory.free_at_start_gib:.1f} GiB are free at start)")
    if report.max_model_len_that_fits and report.max_model_len_that_fits >= 1024:
        ways.append(f"maxModelLen up to {report.max_model_len_that_fits}")
    smallest = report.smallest_tensor_parallel_size
    if smallest is not None and smallest > load.sharding.tensor_parallel_size:
        ways.append(f"tensorParallelSize {smallest}")
    if load.facts.quantization is None:
        ways.append("perhaps an FP8 or AWQ checkpoint")
    return f"Surely fits: {' or '.join(ways or ['GPUs with more memory'])}"


def missing_for_fit(facts: ModelFacts | None, gpu: Gpu | None) -> str:
    """Why a load cannot be judged, in words; empty when it can."""
    if facts is None:
        return "the model's config.json is not read yet"
    if gpu is None:
        return "no node tells its GPU memory (label nvidia.com/gpu.memory); set spec.gpu.memory"
    return ""

"""Which GPUs a server would get, and whether it fits them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.engine.fit import FitReport, missing_for_fit, preflight
from qwen3_operator.engine.flags import given
from qwen3_operator.engine.gpu import MIB_PER_GIB, Gpu, default_utilization
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.node_gpus import NodeGpus, memory_label, share_mib
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding
from qwen3_operator.plan.types import Fit

_GIB = 1 << 30
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def candidate_gpus(spec: Qwen3DeploymentSpec, nodes: Sequence[NodeGpus]) -> list[Gpu]:
    """The kinds of GPU that a server may get, largest memory first: as the spec says, or as the nodes' labels do."""
    if spec.gpu.memory is not None:
        products = {node.product for node in nodes if node.product}
        product = products.pop() if len(products) == 1 else None
        return [Gpu.from_spec(float(quantity(spec.gpu.memory)) / _GIB, product)]
    world = spec.engine.tensor_parallel_size * spec.engine.pipeline_parallel_size
    found = {_share(spec, node.gpu()) for node in nodes if node.gpus >= world}
    return sorted((gpu for gpu in found if gpu), key=lambda gpu: (-gpu.memory_gib, gpu.name, gpu.sharers))


def _share(spec: Qwen3DeploymentSpec, whole: Gpu | None) -> Gpu | None:
    """What the pod may have of a GPU, where its resources say so."""
    asked = {name: str(amount) for name, amount in (spec.resources.requests | spec.resources.limits).items()}
    mib = share_mib(whole.memory_gib * MIB_PER_GIB if whole else None, asked)
    if mib is None:
        return whole
    if whole is None:
        return Gpu.from_labels(None, int(mib))
    return replace(whole, memory_gib=min(whole.memory_gib, mib / MIB_PER_GIB), source="label")


def load_on(
    spec: Qwen3DeploymentSpec,
    facts: ModelFacts,
    gpu: Gpu,
    version: EngineVersion,
    sharding: Sharding,
    max_position: int | None = None,
    *,
    pooling: bool = False,
    lora: Lora | None = None,
) -> Load:
    """What a server of `spec` asks of each GPU. `pooling`: an embedding or reranking model.

    Of a GPU that servers take turns on it is the fair part, unless the spec says how much.
    """
    engine = spec.engine
    percent = engine.gpu_memory_utilization_percent
    kv_bytes = given(engine.extra_args, "--kv-cache-memory-bytes", version)
    return Load(
        facts=facts,
        gpu=gpu,
        version=version,
        sharding=sharding,
        utilization=percent / 100 if percent else default_utilization(version) / gpu.sharers,
        kv_cache_dtype=engine.kv_cache_dtype,
        kv_cache_bytes=_bytes(kv_bytes[0]) if kv_bytes else None,
        quantization=engine.quantization,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        enforce_eager=given(engine.extra_args, "--enforce-eager", version) is not None,
        max_position=max_position,
        pooling=pooling,
        lora=lora,
        flashinfer_sampler=not any(v.name == _FLASHINFER_SAMPLER and v.value == "0" for v in engine.env),
        extras=tuple(_extras(spec, version)),
    )


_FLASHINFER_SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"


def _extras(spec: Qwen3DeploymentSpec, version: EngineVersion) -> Iterator[str]:
    """What takes GPU memory and is no part of the formula."""
    if spec.engine.speculative_decoding is not None:
        yield "speculative decoding"
    if given(spec.engine.extra_args, "--enable-lora", version) is not None:
        yield "LoRA adapters"


def judge(
    spec: Qwen3DeploymentSpec,
    facts: ModelFacts | None,
    gpus: Sequence[Gpu],
    version: EngineVersion,
    sharding: Sharding,
    max_model_len: int,
    max_position: int | None,
    gpus_per_node: int,
    *,
    pooling: bool = False,
    lora: Lora | None = None,
) -> Fit:
    """The verdict: on the largest GPU that the server may get; where it fits that one only, the message says so."""
    if spec.preflight == "Off":
        return Fit("Unknown", Reason.NOT_CHECKED, "spec.preflight is Off")
    missing = missing_for_fit(facts, gpus[0] if gpus else None, memory_label(spec.gpu.resource_name))
    if facts is None or not gpus or missing:
        return Fit("Unknown", Reason.UNKNOWN, preflight(None, max_model_len, unknown=missing).message)
    reports = [
        preflight(
            load_on(spec, facts, gpu, version, sharding, max_position, pooling=pooling, lora=lora),
            max_model_len,
            gpus_per_node=gpus_per_node,
        )
        for gpu in gpus
    ]
    best, worst = reports[0], reports[-1]
    if best.verdict in ("Fits", "Tight") and worst.verdict == "DoesNotFit":
        words = (
            f"{best.message}. But nodes with {gpus[-1].memory_gib:.1f} GiB GPUs match too, and there it does not fit: "
            "name the larger ones in spec.scheduling.nodeSelector"
        )
        return Fit("True", Reason.FITS_SOME_NODES, words, report=best)
    return _as_fit(best, enforced=spec.preflight == "Enforce")


def _as_fit(report: FitReport, *, enforced: bool) -> Fit:
    if report.verdict == "Unknown":
        return Fit("Unknown", Reason.UNKNOWN, report.message, report=report)
    if report.verdict == "DoesNotFit":
        hint = "" if not enforced else ". To try all the same: spec.preflight: Warn"
        return Fit("False", Reason.DOES_NOT_FIT, report.message + hint, blocks=enforced, report=report)
    return Fit("True", Reason.of(report.verdict), report.message, report=report)


def _bytes(text: str) -> int | None:
    """A size as vLLM's flags take it: 64M is decimal in lower case, binary in upper case."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    known = number.replace(".", "", 1).isdecimal() and len(number) < 30
    return int(float(number) * _UNITS.get(unit, 1)) if known else None

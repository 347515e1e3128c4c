"""What a server takes beside weights and KV cache, by the release that it was measured on (overhead.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.load import Kind, Load
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

GIB = 1 << 30
MIB = 1 << 20
_GRAPHS_COUNTED_SINCE = EngineVersion.of("0.21.0")
_LARGEST_GRAPH = 512
"""Tokens of the largest CUDA graph (config/vllm.py, _set_cudagraph_sizes)."""
_REPACKED = ("awq", "gptq")
_MANY_HEADS = 33
"""Heads on a rank from which each graph was seen to be larger: 40 and 64, but not 32."""
_HOPPER = (9, 0)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Measured(_Data):
    """What the constants were seen with; anything else widens the margin."""

    gpus: dict[Kind, list[int]]
    pipeline: bool
    eager: bool
    fp8_cache: list[Kind]
    compute: str = ""
    """The one compute capability, where another runs other kernels."""
    quantizations: dict[Kind, list[str]]


class _Ranks(_Data):
    """GiB on a GPU alone, and on each of several."""

    one: float
    dense: float
    moe: float

    def on_each(self, facts: ModelFacts, sharding: Sharding) -> float:
        """On each GPU of a server."""
        if sharding.world_size == 1:
            return self.one
        return self.moe if facts.is_moe else self.dense


class _NonTorch(_Ranks):
    moe_with_graphs: float


class _Buffers(_Data):
    plain: float
    repacked: float


class _Sampler(_Data):
    """Bytes by logit, token of a batch and sequence. ``gathered``: every rank holds all ranks' logits and its own."""

    logit: float
    gathered: bool = False
    token: float
    sequence: float = 0
    fixed_mib: float
    expert_workspace: float = 0
    """Bytes by token, expert of a token, and width of the experts: stays allocated."""


class _FlashInferSampler(_Data):
    """What it has instead of the terms of the same names."""

    logit: float
    fixed_mib: float


class _Activations(_Data):
    mlp: float
    hidden: float
    hidden_where_split_or_fp8: float


class _Graphs(_Data):
    least_mib: float = 0
    layer_mib: float
    head_mib: float = 0
    head_mib_with_fp8_cache: float = 0
    graph_mib_per_layer: float = 0
    graph_mib_most: float = 0
    """Where a graph of many layers stays."""
    graph_mib_per_layer_of_many_heads: float = 0
    graph_mib_per_layer_in_fp8: float = 0
    graph_mib_per_layer_and_head: float = 0

    def graph_mib(self, layers: int, heads: float, *, fp8: bool) -> float:
        """Of each graph of a whole step after the first."""
        plain = min(self.graph_mib_per_layer * layers, self.graph_mib_most)
        if heads >= _MANY_HEADS:
            plain = self.graph_mib_per_layer_of_many_heads * layers
        more = self.graph_mib_per_layer_in_fp8 * layers if fp8 else 0.0
        return plain + more + self.graph_mib_per_layer_and_head * layers * heads


class _OnV1(_Data):
    """Releases in which models that are not mixtures of experts are on Model Runner V1 as these are."""

    hybrid_before: str
    perhaps_dense_before: str


class Edition(_Data):
    """The constants of one measured release."""

    measured: _Measured
    non_torch_gib: _NonTorch
    held_before_start_gib: _Ranks
    fp8_workspace_mib: float
    penalty_bytes_per_logit: float
    buffers_mib: _Buffers
    sampler: dict[Kind, _Sampler]
    flashinfer_sampler: _FlashInferSampler | None = None
    """None: measured with and without, the same."""
    fused_all_reduce_mib: dict[int, float] = {}
    """The largest message of FlashInfer's all-reduce by the number of GPUs."""
    pooling_samples: bool
    """Whether pooling models are taken to make logits as well: on the safe side where they were not measured."""
    activations: _Activations
    compiles: list[Kind]
    graphs: dict[Kind, _Graphs]
    on_v1: _OnV1 | None = None

    def kinds(self, load: Load) -> tuple[Kind, ...]:
        """Whose constants may hold for a load: those of its own kind, or of what is on the same runner."""
        if self.on_v1 is None or load.kind == "moe":
            return (load.kind,)
        if load.facts.is_hybrid_attention and load.version < EngineVersion.of(self.on_v1.hybrid_before):
            return ("moe",)
        return ("dense", "moe") if load.version < EngineVersion.of(self.on_v1.perhaps_dense_before) else ("dense",)

    def overhead_gib(self, load: Load, kind: Kind) -> float:
        """All that vLLM takes off the KV cache beside weights, by the constants of a kind."""
        penalties = 0.0 if load.pooling else self.penalty_bytes_per_logit * _logits(load)
        repacked = load.loaded_facts.quantization is not None and load.loaded_facts.quantization.method in _REPACKED
        buffers = MIB * (self.buffers_mib.repacked if repacked else self.buffers_mib.plain)
        taken = penalties + buffers + self._peak_bytes(load, kind) + self._graph_bytes(load, kind)
        return self._non_torch_gib(load, kind) + taken / GIB

    def held_gib(self, facts: ModelFacts, sharding: Sharding) -> float:
        """Used on a GPU before vLLM first measures: CUDA context, and with several GPUs NCCL."""
        return self.held_before_start_gib.on_each(facts, sharding)

    def fused_all_reduce_gib(self, load: Load) -> float:
        """What FlashInfer's all-reduce may take more on each GPU: the images have it, and nobody measured it."""
        tp, facts = load.sharding.tensor_parallel_size, load.facts
        if tp == 1 or load.gpu.compute_capability != _HOPPER:
            return 0.0
        message = min(self.fused_all_reduce_mib.get(tp, 0.0) * MIB, 2 * load.batched_tokens * facts.hidden_size)
        return 4 * tp * message / GIB

    def unmeasured(self, load: Load) -> Iterator[str]:
        """Why the constants may not hold for a load of this release, in words."""
        facts, sharding, seen = load.facts, load.sharding, self.measured
        gpus = seen.gpus[load.kind]
        if sharding.world_size not in gpus:
            words = " and ".join(map(str, gpus))
            yield f"{sharding.world_size} GPU{'s' * (sharding.world_size > 1)} (measured: {words})"
        if sharding.pipeline_parallel_size > 1 and (sharding.tensor_parallel_size > 1 or not seen.pipeline):
            yield "TP together with PP" if seen.pipeline else "pipeline parallelism"
        if load.enforce_eager and not seen.eager:
            yield "--enforce-eager"
        if (load.kv_cache_dtype or "").startswith("fp8") and load.kind not in seen.fp8_cache:
            yield "an FP8 KV cache"
        if seen.compute and ".".join(map(str, load.gpu.compute_capability or ())) != seen.compute:
            yield f"kernels of {load.gpu.name or 'the GPU'} (measured: compute capability {seen.compute})"
        method = facts.quantization.method if facts.quantization else None
        if load.quantization is not None or (method and method not in seen.quantizations[load.kind]):
            yield f"quantization {load.quantization or (facts.quantization and facts.quantization.label)}"

    def _non_torch_gib(self, load: Load, kind: Kind) -> float:
        """Counted memory outside torch. NCCL's buffers are taken before vLLM measures: several GPUs count less."""
        counted = self.non_torch_gib
        if kind == "moe" and load.sharding.world_size > 1 and not load.enforce_eager:
            return counted.moe_with_graphs
        return counted.on_each(load.facts, load.sharding)

    def _peak_bytes(self, load: Load, kind: Kind) -> float:
        """Peak of the profiling run: the largest of sampler, activations, and (first start) compilation."""
        facts, tp, batch = load.loaded_facts, load.sharding.tensor_parallel_size, load.batched_tokens
        fp8 = facts.quantization is not None and facts.quantization.method == "fp8"
        terms = self.activations
        hidden = terms.hidden if tp == 1 and not fp8 else terms.hidden_where_split_or_fp8
        activations = 2 * batch * (terms.mlp * facts.intermediate_size / tp + hidden * facts.hidden_size)
        compilation = 2 * facts.hidden_size * (facts.vocab_size / tp + 2 * batch)
        return max(
            0.0 if load.pooling and not self.pooling_samples else self._sampler_bytes(load, kind),
            0.0 if facts.is_moe else activations,
            0.0 if load.enforce_eager or load.kind not in self.compiles else compilation,
        )

    def _sampler_bytes(self, load: Load, kind: Kind) -> float:
        facts, tp, term = load.facts, load.sharding.tensor_parallel_size, self.sampler[kind]
        logit, fixed = term.logit * (2 + 1 / tp if term.gathered and tp > 1 else 1), term.fixed_mib
        if load.flashinfer_sampler and self.flashinfer_sampler is not None:
            logit, fixed = self.flashinfer_sampler.logit, self.flashinfer_sampler.fixed_mib
        width = max(facts.hidden_size, 2 * facts.moe_intermediate_size / tp)
        experts = term.expert_workspace * facts.experts_per_token * load.batched_tokens * width
        rows = (term.token * load.batched_tokens + term.sequence * load.sequences) * facts.hidden_size
        return logit * _logits(load) + rows + experts + fixed * MIB

    def _graph_bytes(self, load: Load, kind: Kind) -> float:
        term = self.graphs.get(kind)
        if term is None or load.enforce_eager or load.version < _GRAPHS_COUNTED_SINCE:
            return 0.0
        layers, heads = load.facts.num_layers, load.facts.num_attention_heads / load.sharding.tensor_parallel_size
        pieces = max(term.least_mib, term.layer_mib * layers)
        if load.pooling:  # it has no graphs of whole steps
            return pieces * MIB
        fp8_cache = (load.kv_cache_dtype or "").startswith("fp8")
        head = term.head_mib + (term.head_mib_with_fp8_cache if fp8_cache else 0.0)
        accumulators = head * heads * min(load.sequences, _LARGEST_GRAPH) / _LARGEST_GRAPH
        quantization = load.loaded_facts.quantization
        fp8 = quantization is not None and quantization.method == "fp8"
        captured = full_graphs(load.sequences) * (1 if load.lora is None else 2)  # with adapters, and without
        graphs = (captured - 1) * term.graph_mib(layers, heads, fp8=fp8)
        return (pieces + accumulators + graphs) * MIB


def full_graphs(sequences: int) -> int:
    """CUDA graphs of whole steps that vLLM captures: sizes 1, 2, 4, by 8 up to 256, by 16 up to 512."""
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, _LARGEST_GRAPH + 1, 16))
    return sum(size <= sequences for size in sizes)


def _logits(load: Load) -> int:
    return load.sequences * load.facts.vocab_size


@cache
def editions() -> tuple[tuple[EngineVersion, Edition], ...]:
    """Every measured release and its constants, oldest first."""
    text = resources.files("qwen3_operator.engine").joinpath("overhead.yaml").read_text(encoding="utf-8")
    found = ((EngineVersion.of(name), Edition.model_validate(data)) for name, data in yaml.safe_load(text).items())
    return tuple(sorted(found, key=lambda item: item[0]))


def editions_for(version: EngineVersion) -> tuple[tuple[EngineVersion, Edition], ...]:
    """The releases whose measurements hold for one: itself, or its measured neighbours."""
    known = editions()
    if same := [item for item in known if item[0].series == version.series]:
        return tuple(same)
    older, newer = [item for item in known if item[0] < version], [item for item in known if item[0] > version]
    return (*older[-1:], *newer[:1])

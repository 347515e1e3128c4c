"""vLLM and how it is started: what a Qwen3Deployment and a Qwen3Batch share, and what only servers have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic.fields import FieldInfo

from qwen3_operator.api.base import (
    ATOMIC_LIST,
    SET_LIST,
    ApiModel,
    ConfigMapKeyRef,
    ObjectName,
    Quantity,
    SecretKeyRef,
    list_map,
    rule,
    rules,
)
from qwen3_operator.api.pod import EnvVarSource
from qwen3_operator.api.source import DEFAULT_REVISION, ModelId, Revision

Parser = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1, le=1024)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
# The API knows no floats: they do not survive every client's reading and writing.
Decimal = Annotated[str, StringConstraints(max_length=16, pattern=r"^[0-9]+([.][0-9]+)?$")]


def _at_most(limit: str) -> FieldInfo:
    bounded: FieldInfo = Field(json_schema_extra=rules(rule(f"double(self) <= {limit}", f"must be at most {limit}")))
    return bounded


class EnvVar(ApiModel):
    """An environment variable, as in a container."""

    model_config = {
        "json_schema_extra": rules(
            rule("!(has(self.value) && has(self.valueFrom))", "value and valueFrom exclude each other")
        )
    }

    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$")]
    """Name of the variable."""
    value: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """Its value."""
    value_from: EnvVarSource | None = None
    """Its source, as in a container: secretKeyRef, configMapKeyRef, fieldRef, resourceFieldRef or fileKeyRef."""


class ChatTemplate(ApiModel):
    """A chat template that replaces the checkpoint's."""

    config_map_key_ref: ConfigMapKeyRef
    """The template (Jinja) as a key of a ConfigMap."""


class Sampling(ApiModel):
    """Sampling defaults of the server; a request may say otherwise."""

    temperature: Annotated[Decimal, _at_most("2.0")] | None = None
    """Randomness; a decimal number as text, like "0.6"."""
    top_p: Annotated[Decimal, _at_most("1.0")] | None = None
    """Share of the probability that is sampled from, like "0.95"."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Number of tokens that are sampled from. 0: all."""
    min_p: Annotated[Decimal, _at_most("1.0")] | None = None
    """Least probability, as a share of the likeliest token's."""
    repetition_penalty: Annotated[Decimal, _at_most("2.0")] | None = None
    """Penalty on tokens that were there already, like "1.05"."""


class SpeculativeDecoding(ApiModel):
    """Speculative decoding with the model's own multi-token-prediction layers."""

    num_speculative_tokens: Annotated[int, Field(ge=1, le=16)]
    """Tokens that are proposed at a time."""


class CompileCache(ApiModel):
    """A volume that keeps what vLLM compiles at its first start: later starts of the same server are faster."""

    enabled: bool = False
    """Keep it."""
    size: Quantity = "10Gi"
    """Size of the claim."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the claim. Default: the cluster's default class."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """Access mode of the claim; ReadWriteMany where the servers are on several nodes."""


LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What --max-lora-rank takes in every release."""
LORA_RANKS_TEXT = ", ".join(map(str, LORA_RANKS))
MOST_ADAPTERS = 32


class LoraAdapter(ApiModel):
    """A LoRA adapter of the model, under a name of its own."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
    """Name by which clients ask for it, in the place of the model's."""
    id: ModelId
    """Adapter on ModelScope: OWNER/NAME."""
    revision: Revision = DEFAULT_REVISION
    """Branch, tag or commit."""
    token_secret_ref: SecretKeyRef | None = None
    """Access token for the hub. Default: that of spec.model."""


class EngineOptions(ApiModel):
    """vLLM and how it loads and runs a model. Fields are named after vLLM's flags."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Image with vLLM. Default: from the operator's settings."""
    version: Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    """vLLM's version in the image, where the tag does not say it."""
    task: Literal["generate", "embed", "rerank"] | None = None
    """What the model is for, where its files do not say it: a fine-tuned embedder has the files of a generator.
    Default: from the catalogue, and from modules.json and the architecture of the checkpoint."""
    max_model_len: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Longest sequence, prompt and answer together, in tokens. Default: from the catalogue for this model and GPU."""
    hf_overrides: Annotated[str, StringConstraints(min_length=2, max_length=8192)] | None = None
    """JSON object that goes over config.json (--hf-overrides), for what the operator does not know: rope_parameters and
    max_position_embeddings of a longer context, architectures. It goes before what the operator sets itself."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Count = 1
    """Groups of layers on GPUs of their own. One engine takes tensorParallelSize times this many GPUs of one node."""
    enable_expert_parallel: bool = False
    """Spread whole experts over the GPUs instead of splitting each (mixture-of-experts models)."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    """Type of weights and activations. Default: the checkpoint's."""
    gpu_memory_utilization_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """Share of the GPU's memory that vLLM takes, in percent. Default: vLLM's own."""
    quantization: Word | None = None
    """Quantize the weights while loading, like fp8. Default: as in the checkpoint."""
    kv_cache_dtype: Word | None = None
    """Type of the KV cache, like fp8. Default: the model's."""
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Sequences that are processed at the same time. Default: vLLM's own."""
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Tokens of one step. Default: vLLM's own."""
    enable_prefix_caching: bool | None = None
    """Keep the KV cache of shared beginnings. Default: vLLM's own."""
    speculative_decoding: SpeculativeDecoding | None = None
    """Speculative decoding, for families with multi-token-prediction layers."""
    chat_template: ChatTemplate | None = None
    """A chat template that replaces the checkpoint's."""
    extra_args: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]],
        Field(max_length=128, json_schema_extra=ATOMIC_LIST),
    ] = []
    """More words for the end of vLLM's command line."""
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    """More environment variables of vLLM."""


class Engine(EngineOptions):
    """vLLM and how it is started. Fields are named after vLLM's flags."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.loraAdapters) || !has(self.servedModelNames)"
                " || !self.loraAdapters.exists(a, a.name in self.servedModelNames)",
                "an adapter of loraAdapters has a name of servedModelNames: each needs its own",
            )
        )
    }

    host: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9A-Fa-f:.]+$")] | None = None
    """Address that the server listens on. `::` is for clusters with IPv6, alone or with IPv4. Default: from the
    operator's settings, all IPv4 addresses."""
    served_model_names: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]],
        Field(max_length=16, json_schema_extra=SET_LIST),
    ] = []
    """Names that clients may use. Default: the last part of the model's id."""
    reasoning_parser: Parser = "auto"
    """auto (from the model), none, or a parser of this vLLM, like qwen3 or deepseek_r1."""
    tool_call_parser: Parser = "auto"
    """auto (from the model), none, or a parser of this vLLM, like hermes or qwen3_coder."""
    thinking: Literal["Default", "Enabled", "Disabled"] = "Default"
    """Whether requests that do not say think, for models that can do both. Default: the chat template's own."""
    sampling: Sampling | None = None
    """Sampling defaults of the server. Default: the checkpoint's, or the authors' advice where thinking is disabled."""
    lora_adapters: Annotated[
        list[LoraAdapter], Field(max_length=MOST_ADAPTERS, json_schema_extra=list_map("name"))
    ] = []
    """LoRA adapters that are served beside the model, each under its own name. They lie on the model's claim, and come
    and go without a restart as long as maxLoraRank suffices; the first and the last one restart the servers."""
    max_lora_rank: (
        Annotated[
            int,
            Field(
                ge=LORA_RANKS[0],
                le=LORA_RANKS[-1],
                json_schema_extra=rules(rule(f"self in {list(LORA_RANKS)}", f"must be one of {LORA_RANKS_TEXT}")),
            ),
        ]
        | None
    ) = None
    """Largest rank of an adapter. Given, servers are ready for adapters before there is one. Default: what the adapters
    need when servers are made, at least 16."""
    max_loras: Annotated[int, Field(ge=1, le=MOST_ADAPTERS)] | None = None
    """Adapters that one step of the engine serves together; there is room for so many on the GPU. Default: 4."""
    resolve: Annotated[str, StringConstraints(max_length=256)] = ""
    """Any text; another one has every value that is not given resolved anew. Until then, and until another field of
    the servers changes, they keep the image, parsers and other values that they were made with: see status.plan[].next.
    """
    compile_cache: CompileCache | None = None
    """Keep torch.compile's results on a volume. It goes with the Qwen3Deployment."""
    reasoning_content_field: bool = False
    """Answer with the reasoning in `reasoning_content` too, for clients made before vLLM 0.16."""

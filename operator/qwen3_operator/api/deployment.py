"""Qwen3Deployment: what people write to have a Qwen3 model served."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints
from pydantic.fields import FieldInfo

from qwen3_operator.api.base import (
    ATOMIC_LIST,
    EMPTY_DEFAULT,
    SET_LIST,
    AnnotationValue,
    ApiModel,
    ConfigMapKeyRef,
    LabelValue,
    ObjectName,
    PassedOn,
    Quantity,
    ResourceQuantity,
    SecretKeyRef,
    Text,
    list_map,
    rule,
    rules,
)
from qwen3_operator.api.conditions import Condition
from qwen3_operator.api.model import Download, Int64, ModelCopy
from qwen3_operator.api.source import ModelSource, Scheduling

Parser = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1, le=1024)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
# The API knows no floats: they do not survive every client's reading and writing.
Decimal = Annotated[str, StringConstraints(max_length=16, pattern=r"^[0-9]+([.][0-9]+)?$")]


def _at_most(limit: str) -> FieldInfo:
    bounded: FieldInfo = Field(json_schema_extra=rules(rule(f"double(self) <= {limit}", f"must be at most {limit}")))
    return bounded


GPU_OWNED = (
    "the GPU count follows from engine.tensorParallelSize and pipelineParallelSize:"
    " leave nvidia.com/gpu and the like out of resources"
)


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
    value_from: PassedOn | None = None
    """Its source: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef."""


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


class Engine(ApiModel):
    """vLLM and how it is started. Fields are named after vLLM's flags."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Image of the server. Default: from the operator's settings."""
    version: Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    """vLLM's version in the image, where the tag does not say it."""
    served_model_names: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]],
        Field(max_length=16, json_schema_extra=SET_LIST),
    ] = []
    """Names that clients may use. Default: the last part of the model's id."""
    max_model_len: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Longest sequence, prompt and answer together, in tokens. Default: from the catalogue for this model and GPU."""
    reasoning_parser: Parser = "auto"
    """auto (from the model), none, or a parser of this vLLM, like qwen3 or deepseek_r1."""
    tool_call_parser: Parser = "auto"
    """auto (from the model), none, or a parser of this vLLM, like hermes or qwen3_coder."""
    thinking: Literal["Default", "Enabled", "Disabled"] = "Default"
    """Whether requests that do not say think, for models that can do both. Default: the chat template's own."""
    sampling: Sampling | None = None
    """Sampling defaults of the server. Default: the checkpoint's, or the authors' advice where thinking is disabled."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Count = 1
    """Groups of layers on GPUs of their own. One server takes tensorParallelSize times this many GPUs of one node."""
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
    compile_cache: CompileCache | None = None
    """Keep torch.compile's results on a volume. It goes with the Qwen3Deployment."""
    chat_template: ChatTemplate | None = None
    """A chat template that replaces the checkpoint's."""
    reasoning_content_field: bool = False
    """Answer with the reasoning in `reasoning_content` too, for clients made before vLLM 0.16."""
    extra_args: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]],
        Field(max_length=128, json_schema_extra=ATOMIC_LIST),
    ] = []
    """More words for the end of the `vllm serve` command line."""
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    """More environment variables of the server."""


class Gpu(ApiModel):
    """The GPUs of a server."""

    resource_name: Annotated[
        str,
        StringConstraints(max_length=317),
        Field(
            json_schema_extra=rules(
                rule(
                    "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
                    "must be an extended resource, like nvidia.com/gpu",
                )
            )
        ),
    ] = "nvidia.com/gpu"
    """Extended resource that the scheduler counts."""
    memory: Quantity | None = None
    """Memory of one GPU, like 80Gi, where node labels do not tell (nvidia.com/gpu.memory)."""


ResourceMap = Annotated[dict[Annotated[str, StringConstraints(max_length=317)], ResourceQuantity], Field(max_length=16)]


class Resources(ApiModel):
    """CPU, memory and other resources of a server, GPUs apart."""

    requests: ResourceMap = {}
    """What a server asks for. Default: from the model's size."""
    limits: ResourceMap = {}
    """What a server may use at the most. Default: none."""


class Service(ApiModel):
    """The Service in front of the servers; it has the Qwen3Deployment's name."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How it is reached."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Its port."""
    annotations: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], AnnotationValue], Field(max_length=64)
    ] = {}
    """More annotations, for a load balancer or a mesh."""
    labels: Annotated[dict[Annotated[str, StringConstraints(max_length=317)], LabelValue], Field(max_length=64)] = {}
    """More labels."""


class Auth(ApiModel):
    """Who may use the endpoint."""

    api_key_secret_ref: SecretKeyRef
    """Key that clients send as bearer token. vLLM asks for it on /v1 only: /metrics, /tokenize and others stay open."""


class Rollout(ApiModel):
    """How servers are replaced."""

    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    """Seconds that running requests have to finish when a server ends (vLLM 0.18 and newer)."""


class Qwen3DeploymentSpec(ApiModel):
    """Desired state of a Qwen3Deployment."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.resources) || ((!has(self.resources.requests)"
                " || !(self.gpu.resourceName in self.resources.requests)) && (!has(self.resources.limits)"
                " || !(self.gpu.resourceName in self.resources.limits)))",
                GPU_OWNED,
            )
        )
    }

    model: ModelSource
    """The checkpoint."""
    engine: Annotated[Engine, Field(json_schema_extra=EMPTY_DEFAULT)] = Engine()
    """vLLM and how it is started."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Servers."""
    gpu: Annotated[Gpu, Field(json_schema_extra=EMPTY_DEFAULT)] = Gpu()
    """The GPUs of a server."""
    resources: Resources = Resources()
    """CPU, memory and other resources of a server, GPUs apart."""
    scheduling: Scheduling = Scheduling()
    """Where the servers run."""
    service: Annotated[Service, Field(json_schema_extra=EMPTY_DEFAULT)] = Service()
    """The Service in front of the servers."""
    auth: Auth | None = None
    """Who may use the endpoint. Default: everybody who reaches it."""
    preflight: Literal["Enforce", "Warn", "Off"] = "Enforce"
    """What becomes of a server that will not fit its GPUs: not made, made with a warning, or not asked."""
    rollout: Annotated[Rollout, Field(json_schema_extra=EMPTY_DEFAULT)] = Rollout()
    """How servers are replaced."""
    pod_template_patch: PassedOn = {}
    """Strategic merge patch of the server's pod template, for what has no field here. The container is `vllm`."""
    suspend: bool = False
    """Run no server while true; the weights and the Service stay."""


Servers = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A count that the scale sub-resource holds (int32)."""


class EngineStatus(ApiModel):
    """The engine as it is started."""

    version: Text | None = None
    """vLLM's version as far as it is known."""
    image: Text | None = None
    """Image of the servers."""
    max_model_len: Int64 | None = None
    """Longest sequence, in tokens."""
    command: Annotated[
        list[Annotated[str, StringConstraints(max_length=8192)]],
        Field(max_length=512, json_schema_extra=ATOMIC_LIST),
    ] = []
    """The command line."""


class Startup(ApiModel):
    """How long the stages of the newest server's start took, in whole seconds."""

    pod: Text | None = None
    """The pod that was looked at."""
    scheduled_seconds: Int64 | None = None
    """From its creation until it had a node."""
    pulled_seconds: Int64 | None = None
    """From the node until the container started: volumes and image."""
    weights_seconds: Int64 | None = None
    """Loading the weights, as vLLM logs it."""
    compile_seconds: Int64 | None = None
    """torch.compile, as vLLM logs it."""
    graphs_seconds: Int64 | None = None
    """Capturing CUDA graphs, as vLLM logs it."""
    ready_seconds: Int64 | None = None
    """From the container's start until it was ready."""
    kv_cache_tokens: Int64 | None = None
    """Tokens that the KV cache holds, as vLLM logs it."""


class PlanEntry(ApiModel):
    """One resolved value."""

    field: Text
    """What was resolved."""
    value: Text
    """To what."""
    reason: Text
    """Why."""


class ModelStatus(ModelCopy):
    """The verified copy that is served."""

    name: Text | None = None
    """Name of the Qwen3Model."""


class Qwen3DeploymentStatus(ApiModel):
    """Observed state of a Qwen3Deployment."""

    observed_generation: Int64 | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Accepted, ModelReady, Fits, Scheduled, Available, Ready; Reconciling and Stalled as kstatus reads them."""
    endpoint: Text | None = None
    """URL of the OpenAI API inside the cluster."""
    model: ModelStatus | None = None
    """The verified copy that is served."""
    download: Download | None = None
    """The download's progress, while there is one."""
    engine: EngineStatus | None = None
    """The engine as it is started."""
    plan: Annotated[list[PlanEntry], Field(max_length=64, json_schema_extra=list_map("field"))] = []
    """Values that were resolved, each with its reason."""
    startup: Startup | None = None
    """How long the newest server's start took."""
    replicas: Servers | None = None
    """Servers that exist."""
    ready_replicas: Servers | None = None
    """Servers that answer."""
    selector: Text | None = None
    """Label selector of the servers, for the scale sub-resource."""


class Qwen3Deployment(ApiModel):
    """A Qwen3 model served by vLLM behind an OpenAI-compatible endpoint."""

    KIND: ClassVar[str] = "Qwen3Deployment"
    PLURAL: ClassVar[str] = "qwen3deployments"

    metadata: Annotated[dict[str, Any], Field(exclude=True)] = {}
    spec: Qwen3DeploymentSpec
    """Desired state."""
    status: Qwen3DeploymentStatus = Qwen3DeploymentStatus()
    """Observed state."""

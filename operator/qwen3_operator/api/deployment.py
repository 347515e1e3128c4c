"""Qwen3Deployment: what people write to have a Qwen3 model served."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from qwen3_operator.api.autoscaling import Autoscaling
from qwen3_operator.api.base import (
    ATOMIC_LIST,
    ATOMIC_MAP,
    EMPTY_DEFAULT,
    AnnotationValue,
    ApiModel,
    LabelValue,
    ObjectName,
    Quantity,
    ResourceMap,
    SecretKeyRef,
    SecretRef,
    Text,
    Time,
    list_map,
    rule,
    rules,
)
from qwen3_operator.api.benchmark import Benchmark, CapacityStatus
from qwen3_operator.api.conditions import Condition
from qwen3_operator.api.engine import MOST_ADAPTERS, Engine
from qwen3_operator.api.gateway import Gateway
from qwen3_operator.api.model import Download, Int64, ModelCopy
from qwen3_operator.api.patch import PodTemplatePatch
from qwen3_operator.api.source import ModelSource, Scheduling

GPU_OWNED = (
    "the GPU count follows from engine.tensorParallelSize and pipelineParallelSize:"
    " leave nvidia.com/gpu and the like out of resources"
)


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
    """Memory of one GPU, like 80Gi, where no node label has it (nvidia.com/gpu.memory)."""


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
    gateway: Gateway | None = None
    """A route to it from a Gateway of the cluster (HTTPRoute of the Gateway API). The operator makes it where the chart
    was installed with gateway.enabled."""


class Keys(ApiModel):
    """Keys of the teams that share the endpoint."""

    secret_ref: SecretRef
    """Secret with a key under each name. What stands before the first dot is the team: team-a and team-a.2 are two keys
    of one team."""


class Limits(ApiModel):
    """What a team may have of each server. Nothing set: no limit."""

    requests_per_minute: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Requests, counted when they come."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Tokens of prompts and answers, counted when an answer is over: the next request waits until they are back."""
    max_concurrent: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Requests at the same time."""


class TeamLimits(Limits):
    """The limits of one team."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-_a-zA-Z0-9]+$")]
    """The team, as the names of its keys begin."""


class AuthLimits(ApiModel):
    """Limits of the teams, on each server by itself. A change reaches the servers within two minutes, without a
    restart."""

    default: Limits = Limits()
    """Of every team that has none of its own."""
    teams: Annotated[list[TeamLimits], Field(max_length=256, json_schema_extra=list_map("name"))] = []
    """Teams with limits of their own, which take the place of the default's altogether."""


class Auth(ApiModel):
    """Who may use the endpoint."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.apiKeySecretRef) != has(self.keys)", "give either apiKeySecretRef or keys"),
            rule("has(self.keys) || !has(self.limits)", "limits are of teams: they need keys"),
        )
    }

    api_key_secret_ref: SecretKeyRef | None = None
    """One key that all clients send as bearer token. vLLM asks for it on /v1 only: /metrics, /tokenize and others stay
    open. It is read at the start: after a change of the Secret, kubectl rollout restart deployment/NAME, which an
    operator that may read Secrets does by itself. Exclusive with keys."""
    keys: Keys | None = None
    """A key for each team, asked for on every path but /health and /metrics. A change of the Secret reaches the servers
    within two minutes, without a restart. Needs vLLM 0.16 or newer."""
    limits: AuthLimits | None = None
    """How much a team may have."""


class Rollout(ApiModel):
    """How servers are replaced."""

    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    """Seconds that running requests have to finish when a server ends (vLLM 0.18 and newer)."""
    strategy: Literal["Auto", "Surge", "Recreate"] = "Auto"
    """Auto: a new server comes before an old one goes, where there is room for it; else the old one goes first. Surge:
    always the new one first. Recreate: all old ones go before the first new one comes."""
    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = 0
    """Servers that may be missing meanwhile, beside the one that goes first where there is no room."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=86400)] | None = None
    """Seconds without progress after which the roll-out is said to have failed. Default: the longest start of the
    model that is no failure, and ten minutes."""


class VerifyPrompt(ApiModel):
    """A question whose answer is known."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """What a user asks."""
    contains: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]],
        Field(min_length=1, max_length=8, json_schema_extra=ATOMIC_LIST),
    ]
    """Texts that the answer has, each of them; the reasoning does not count."""
    thinking: bool | None = None
    """Whether the model thinks first, for models that can do both. Default: the server's own."""


class Verify(ApiModel):
    """What an engine must be seen to do before it is asked by others."""

    mode: Literal["Auto", "Off"] = "Auto"
    """Auto: once per start, the engine is asked whether it answers as its model: thinking split off, tool calls parsed,
    streams like whole answers. Off: it is not asked."""
    prompts: Annotated[list[VerifyPrompt], Field(max_length=8, json_schema_extra=ATOMIC_LIST)] = []
    """Questions of your own, asked with temperature 0, at most 512 tokens each."""


class ModelRef(ApiModel):
    """A Qwen3Model of the same namespace."""

    name: ObjectName
    """Its name."""


class Qwen3DeploymentSpec(ApiModel):
    """Desired state of a Qwen3Deployment."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.model) != has(self.modelRef)", "give either model or modelRef"),
            rule(
                "!has(self.model) || !has(self.engine.loraAdapters)"
                " || (has(self.engine.servedModelNames) && self.engine.servedModelNames.size() > 0)"
                " || !self.engine.loraAdapters.exists(a, self.model.id.endsWith('/' + a.name))",
                "an adapter of engine.loraAdapters has the name by which the model is served: each needs its own",
            ),
            rule(
                "!has(self.resources) || ((!has(self.resources.requests)"
                " || !(self.gpu.resourceName in self.resources.requests)) && (!has(self.resources.limits)"
                " || !(self.gpu.resourceName in self.resources.limits)))",
                GPU_OWNED,
            ),
            rule(
                "!has(self.autoscaling) || !has(self.autoscaling.target.auto) || has(self.benchmark)",
                "autoscaling.target.auto is what spec.benchmark measures: give both",
            ),
            rule(
                "!has(self.autoscaling) || self.autoscaling.minReplicas > 0 || !has(self.service.gateway)"
                " || !has(self.service.gateway.endpointPicker)",
                "an endpoint picker chooses among servers that are there, and none holds a request while there is none:"
                " autoscaling.minReplicas must be at least 1, or leave service.gateway.endpointPicker out",
            ),
        )
    }

    model: ModelSource | None = None
    """The checkpoint. Exclusive with modelRef."""
    model_ref: ModelRef | None = None
    """Serve from a Qwen3Model that is there, made by whoever offers it."""
    engine: Annotated[Engine, Field(json_schema_extra=EMPTY_DEFAULT)] = Engine()
    """vLLM and how it is started."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Number of servers. Ignored while autoscaling is set."""
    autoscaling: Autoscaling | None = None
    """Have as many servers as the load needs, in the place of replicas."""
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
    disruption_budget: Literal["Auto", "Off"] = "Auto"
    """Auto: two servers and more have a PodDisruptionBudget, and one at a time is evicted, as by a node's drain; none
    is made where another one selects them. Off: none."""
    verify: Annotated[Verify, Field(json_schema_extra=EMPTY_DEFAULT)] = Verify()
    """What a server must be seen to do before it gets users."""
    benchmark: Benchmark | None = None
    """Have a new server measure what it can bear, before it has users. Default: it is not measured."""
    pod_template_patch: PodTemplatePatch | None = None
    """Strategic merge patch of the server's pod template, as text (YAML or JSON), for what has no field here.
    The container is `vllm`."""
    suspend: bool = False
    """Run no server while true; the weights and the Service stay."""

    @property
    def source(self) -> ModelSource:
        """The checkpoint. Raises ValueError while it is only referred to."""
        if self.model is None:
            raise ValueError("the model of a modelRef is not known yet")
        return self.model


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
    """The pod that the times were read from."""
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
    without_middleware: Text | None = None
    """Why the server runs without the operator's middleware, where it does."""


class PlanEntry(ApiModel):
    """One resolved value."""

    field: Text
    """What was resolved."""
    value: Text
    """To what."""
    reason: Text
    """Why."""
    next: Text | None = None
    """To what it would be resolved now, where the servers keep what they were made with: see spec.engine.resolve."""


class ModelStatus(ModelCopy):
    """The verified copy that is served."""

    name: Text | None = None
    """Name of the Qwen3Model."""
    id: Text | None = None
    """Model on ModelScope."""


class AutoscalingStatus(ApiModel):
    """What the autoscaler wants."""

    desired_replicas: Servers | None = None
    """Servers that it wants now."""
    active: bool | None = None
    """Whether there is load, as it sees it."""


class AdapterStatus(ApiModel):
    """One of spec.engine.loraAdapters."""

    name: Annotated[str, StringConstraints(max_length=128)]
    """Name by which clients ask for it."""
    model: Text | None = None
    """Name of its Qwen3Model."""
    revision: Text | None = None
    """Revision of the copy that servers are to have."""
    commit: Text | None = None
    """Commit that it stood for."""
    rank: Int64 | None = None
    """Its rank."""
    bytes: Int64 | None = None
    """Size of its files."""
    ready: bool = False
    """Whether every server has it."""
    message: Text | None = None
    """Why not every server has it."""


class Qwen3DeploymentStatus(ApiModel):
    """Observed state of a Qwen3Deployment."""

    # One manager writes it: what is atomic here saves the API server the book of each field in it, at every write.

    observed_generation: Int64 | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Accepted, ModelReady, Fits, Scheduled, Available, Ready; Reconciling and Stalled as kstatus reads them; Routed
    where there is spec.service.gateway."""
    endpoint: Text | None = None
    """URL of the OpenAI API inside the cluster."""
    gateway_endpoint: Text | None = None
    """Host and path of the OpenAI API at the Gateway, while that takes the route. The listener has scheme and port."""
    model: Annotated[ModelStatus | None, Field(json_schema_extra=ATOMIC_MAP)] = None
    """The verified copy that is served."""
    model_fault_at: Time | None = None
    """Start of the newest server that ended because files of the verified copy are missing or damaged: the copy is then
    verified again."""
    adapters: Annotated[list[AdapterStatus], Field(max_length=MOST_ADAPTERS, json_schema_extra=list_map("name"))] = []
    """The LoRA adapters of the spec."""
    download: Download | None = None
    """The download's progress, while there is one."""
    engine: Annotated[EngineStatus | None, Field(json_schema_extra=ATOMIC_MAP)] = None
    """The engine as it is started."""
    plan: Annotated[list[PlanEntry], Field(max_length=64, json_schema_extra=ATOMIC_LIST)] = []
    """Values that were resolved, each with its reason."""
    startup: Startup | None = None
    """How long the newest server's start took."""
    capacity: Annotated[CapacityStatus | None, Field(json_schema_extra=ATOMIC_MAP)] = None
    """What a server can bear, once it was measured: see spec.benchmark."""
    replicas: Servers | None = None
    """Servers that exist."""
    ready_replicas: Servers | None = None
    """Servers that answer."""
    autoscaling: AutoscalingStatus | None = None
    """What the autoscaler wants, where there is one."""
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

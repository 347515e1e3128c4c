"""Qwen3Batch: offline inference, a file of prompts in and a file of answers out, by a Job over a verified model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from qwen3_operator.api.base import (
    ATOMIC_LIST,
    EMPTY_DEFAULT,
    ApiModel,
    ConfigMapKeyRef,
    ObjectName,
    SecretKeyRef,
    Text,
    Time,
    list_map,
    rule,
    rules,
)
from qwen3_operator.api.conditions import Condition
from qwen3_operator.api.deployment import GPU_OWNED, EngineStatus, Gpu, ModelStatus, PlanEntry, Resources, Verify
from qwen3_operator.api.engine import EngineOptions, Sampling
from qwen3_operator.api.model import Download, Int64
from qwen3_operator.api.patch import PodTemplatePatch
from qwen3_operator.api.source import ModelSource, Scheduling

MAX_SHARDS = 256


def immutable(field: str, why: str) -> dict[str, str]:
    """A rule of the spec: `field` stays as it was."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} is immutable: {why}, so make another Qwen3Batch",
    )


FilePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024),
    Field(
        json_schema_extra=rules(
            rule(
                "!self.startsWith('/') && !self.endsWith('/') && !self.split('/').exists(part, part == '..')",
                "must be a file inside the volume: relative, without '..', and not ending in '/'",
            )
        )
    ),
]


class ClaimFile(ApiModel):
    """A file on a PersistentVolumeClaim of the same namespace."""

    name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: FilePath
    """Path of the file inside the volume."""


class BatchInput(ApiModel):
    """Where the prompts come from."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "[has(self.configMapKeyRef), has(self.claim), has(self.prompts)].filter(given, given).size() == 1",
                "give one of configMapKeyRef, claim and prompts",
            )
        )
    }

    config_map_key_ref: ConfigMapKeyRef | None = None
    """A key of a ConfigMap."""
    claim: ClaimFile | None = None
    """A file on a volume."""
    prompts: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]],
            Field(min_length=1, max_length=64, json_schema_extra=ATOMIC_LIST),
        ]
        | None
    ) = None
    """The prompts themselves."""
    format: Literal["JSONLines", "Text"] = "JSONLines"
    """JSONLines: each line is a request of OpenAI's batch format, or {"prompt": ...}, or {"messages": [...]}. Text:
    each line is a prompt."""
    model: Literal["AsIs", "Any"] = "AsIs"
    """Lines that name another model than the one that answers. AsIs: they get an error line. Any: they are answered,
    under the name of the one that answers."""
    apply_chat_template: bool = True
    """Render plain prompts as a user's message by the model's chat template. False: they are completed as they are."""


class BatchOutput(ApiModel):
    """Where the answers go."""

    claim: ClaimFile
    """A file on a volume, in OpenAI's batch format. It must not exist; a folder beside it keeps the progress."""
    include_prompt: bool = False
    """Put the prompt as the model saw it, rendered by the chat template, into each answer's body."""


class BatchSampling(Sampling):
    """How answers are sampled, where a line does not say. Default: the authors' advice, for thinking or not."""

    thinking: Literal["Default", "Enabled", "Disabled"] = "Default"
    """Whether chats think, for models that can do both. Default: the chat template's own."""
    max_tokens: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Longest answer, in tokens. Default: what maxModelLen leaves."""
    stop_token_ids: Annotated[
        list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(max_length=64, json_schema_extra=ATOMIC_LIST)
    ] = []
    """Tokens that end an answer, beside the model's own."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Sample line i, counted from 0, with this seed + i: the same answers again, whatever the number of shards."""


class DeploymentRef(ApiModel):
    """A Qwen3Deployment of the same namespace."""

    name: ObjectName
    """Its name."""


Shards = Annotated[int, Field(ge=1, le=MAX_SHARDS)]


class Qwen3BatchSpec(ApiModel):
    """Desired state of a Qwen3Batch."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.model) != has(self.deploymentRef)", "give either model or deploymentRef"),
            rule(
                "!has(self.deploymentRef) || !has(self.engine)",
                "deploymentRef excludes engine: it is that of the Qwen3Deployment",
            ),
            rule("self.parallelism <= self.completions", "parallelism must be at most completions"),
            rule(
                "!has(self.resources) || ((!has(self.resources.requests)"
                " || !((has(self.gpu) ? self.gpu.resourceName : 'nvidia.com/gpu') in self.resources.requests))"
                " && (!has(self.resources.limits)"
                " || !((has(self.gpu) ? self.gpu.resourceName : 'nvidia.com/gpu') in self.resources.limits)))",
                GPU_OWNED,
            ),
            rule(
                "self.target != 'Running' || (has(self.deploymentRef) && !has(self.gpu) && self.completions == 1)",
                "target Running needs deploymentRef, and has neither gpu nor completions",
            ),
            rule("self.target == 'Running' || !has(self.concurrency)", "concurrency is for target Running"),
            rule("self.target == 'Running' || !has(self.apiKeySecretRef)", "apiKeySecretRef is for target Running"),
            rule("self.target != 'Running' || !has(self.verify)", "verify is for target OwnEngine"),
            immutable("input", "answers of two inputs would be mixed"),
            immutable("output", "the answers so far are there"),
            immutable("sampling", "answers of two kinds would be mixed"),
            immutable("target", "answers of two kinds would be mixed"),
            immutable("completions", "the lines are dealt out by it"),
        )
    }

    model: ModelSource | None = None
    """The checkpoint."""
    engine: EngineOptions | None = None
    """vLLM and how it loads and runs the model."""
    deployment_ref: DeploymentRef | None = None
    """Take model, engine and, where they are not given here, gpu, resources, scheduling, verify and
    podTemplatePatch from a Qwen3Deployment."""
    target: Literal["OwnEngine", "Running"] = "OwnEngine"
    """Who answers. OwnEngine: an engine of the batch's own, with GPUs of its own, for each shard. Running: the servers
    of the Qwen3Deployment that deploymentRef names, as they run; the batch itself has no GPU."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most lines that servers which run have at the same time from this batch. Default: 32."""
    api_key_secret_ref: SecretKeyRef | None = None
    """Key by which servers that run are asked: of a team, where they have auth.keys. Default: the servers' own
    auth.apiKeySecretRef."""
    input: BatchInput
    """Where the prompts come from."""
    output: BatchOutput
    """Where the answers go."""
    sampling: Annotated[BatchSampling, Field(json_schema_extra=EMPTY_DEFAULT)] = BatchSampling()
    """How answers are sampled, where a line does not say."""
    completions: Shards = 1
    """Shards of the input: line i goes to shard i modulo this. Each is a pod with GPUs of its own."""
    parallelism: Shards = 1
    """Shards that run at the same time."""
    gpu: Gpu | None = None
    """The GPUs of a shard. Default: nvidia.com/gpu."""
    resources: Resources | None = None
    """CPU, memory and other resources of a shard, GPUs apart."""
    scheduling: Scheduling | None = None
    """Where the shards run."""
    preflight: Literal["Enforce", "Warn", "Off"] = "Enforce"
    """What becomes of a shard that will not fit its GPUs: not made, made with a warning, or not asked."""
    verify: Verify | None = None
    """What the engine of a shard must be seen to do before it has the first line. Default: as in the Qwen3Deployment of
    deploymentRef, else mode Auto."""
    pod_template_patch: PodTemplatePatch | None = None
    """Strategic merge patch of the shards' pod template, as text (YAML or JSON), for what has no field here.
    The container is `vllm`."""
    suspend: bool = False
    """Run no shard while true. What is finished stays, and is continued later. Under a queue (the label
    kueue.x-k8s.io/queue-name) it counts when the Job is made; from then on it is the queue's."""
    backoff_limit: Annotated[int, Field(ge=0, le=1000)] = 6
    """Pods of one shard that may fail before the shard is given up; each continues where the one before stopped."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Longest time of the whole batch, in seconds. What is finished by then is delivered. Default: none."""
    stall_seconds: Annotated[int, Field(ge=60, le=86400)] = 600
    """An engine that owes answers and makes no token for so long hangs: its pod ends, and the next one goes on. Of
    target Running: how long no server may be there."""
    # Long enough that the operator sees how it ended, also where it is restarted meanwhile.
    ttl_seconds_after_finished: Annotated[int, Field(ge=60, le=2**31 - 1)] = 86400
    """Seconds that the Job with its pods and their logs is kept after its end. The Qwen3Batch and its status stay."""


class Requests(ApiModel):
    """Lines of the input."""

    total: Int64 | None = None
    """All of them, once they are counted."""
    done: Int64 = 0
    """Answered."""
    failed: Int64 = 0
    """Not answerable: their line of the output says why."""


class Tokens(ApiModel):
    """Tokens so far."""

    prompt: Int64 = 0
    """Of the prompts."""
    completion: Int64 = 0
    """Of the answers."""


class ShardStatus(ApiModel):
    """One shard."""

    index: Annotated[int, Field(ge=0, le=MAX_SHARDS)]
    """Its number: JOB_COMPLETION_INDEX."""
    total: Int64 = 0
    """Lines of the shard."""
    done: Int64 = 0
    """Answered."""
    failed: Int64 = 0
    """Not answerable."""
    prompt_tokens: Int64 = 0
    """Tokens of the prompts."""
    completion_tokens: Int64 = 0
    """Tokens of the answers."""
    tokens_per_second: Int64 | None = None
    """Tokens that its engine makes in a second."""
    eta_seconds: Int64 | None = None
    """Seconds to go at that rate."""


class JobStatus(ApiModel):
    """The Job."""

    name: Text
    """Its name."""
    result: Literal["Complete", "Failed"] | None = None
    """How it ended."""
    delivery: Literal["Waiting", "Running", "Complete", "Failed"] | None = None
    """Delivery of what a Job that failed had finished, by a Job of its own. Waiting: that Job cannot be made yet."""
    started_at: Time | None = None
    """When it started."""
    finished_at: Time | None = None
    """When it ended."""


class Qwen3BatchStatus(ApiModel):
    """Observed state of a Qwen3Batch."""

    observed_generation: Int64 | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Accepted, ModelReady, Fits, Scheduled, Completed, Ready; Reconciling and Stalled as kstatus reads them."""
    model: ModelStatus | None = None
    """The verified copy that answers."""
    model_fault_at: Time | None = None
    """Start of the newest pod that ended because files of the verified copy are missing or damaged: the copy is then
    verified again."""
    download: Download | None = None
    """The download's progress, while there is one."""
    engine: EngineStatus | None = None
    """The engine as it is started."""
    plan: Annotated[list[PlanEntry], Field(max_length=64, json_schema_extra=ATOMIC_LIST)] = []
    """Values that were resolved, each with its reason."""
    job: JobStatus | None = None
    """The Job."""
    requests: Requests | None = None
    """Lines done, failed, and in all."""
    tokens: Tokens | None = None
    """Tokens so far."""
    tokens_per_second: Int64 | None = None
    """Tokens of answers a second: of the shards that run, and at the end over the Job's whole time."""
    eta_seconds: Int64 | None = None
    """Seconds to go at the rate of now."""
    progress_at: Time | None = None
    """When the progress was written last."""
    shards: Annotated[list[ShardStatus], Field(max_length=MAX_SHARDS, json_schema_extra=ATOMIC_LIST)] = []
    """Each shard that has begun."""
    output: Text | None = None
    """Where the answers are: CLAIM:PATH, once the batch is complete, or what was finished of it is delivered."""
    output_capacity: Text | None = None
    """Size of the output's claim when it was full: the batch goes on once it is larger."""


class Qwen3Batch(ApiModel):
    """Offline inference: prompts in, answers out, by a Job over the same verified model that servers use."""

    KIND: ClassVar[str] = "Qwen3Batch"
    PLURAL: ClassVar[str] = "qwen3batches"

    metadata: Annotated[dict[str, Any], Field(exclude=True)] = {}
    spec: Qwen3BatchSpec
    """Desired state."""
    status: Qwen3BatchStatus = Qwen3BatchStatus()
    """Observed state."""

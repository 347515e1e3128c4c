"""Where a model's weights come from and where they are kept: shared by Qwen3Deployment and Qwen3Model."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from qwen3_operator.api.base import (
    ATOMIC_LIST,
    ATOMIC_MAP,
    EMPTY_DEFAULT,
    AnnotationValue,
    ApiModel,
    ConfigMapKeyRef,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    QuantityRange,
    ResourceMap,
    SecretKeyRef,
    Text,
    rule,
    rules,
)
from qwen3_operator.api.pod import Affinity, TopologySpreadConstraint

DEFAULT_REVISION = "master"
DEFAULT_ACCESS_MODE = "ReadWriteOnce"

ModelId = Annotated[
    str,
    StringConstraints(max_length=200),
    Field(
        json_schema_extra=rules(
            rule(
                r"self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$')",
                "must be OWNER/NAME as on ModelScope, like Qwen/Qwen3-8B",
            )
        )
    ),
]
Revision = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    Field(
        json_schema_extra=rules(
            rule(
                r"self.matches('^[A-Za-z0-9][A-Za-z0-9._/-]*$') && !self.contains('..')",
                "must be a branch, a tag or a commit of the repository",
            )
        )
    ),
]
Endpoint = Annotated[
    str,
    StringConstraints(max_length=1024),
    Field(
        json_schema_extra=rules(
            rule(
                "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
                "must be a URL of the hub, like https://modelscope.cn",
            )
        )
    ),
]
VolumePath = Annotated[
    str,
    StringConstraints(max_length=1024),
    Field(
        json_schema_extra=rules(
            rule(
                "!self.startsWith('/') && !self.split('/').exists(part, part == '..')",
                "must be a folder inside the volume: relative, and without '..'",
            )
        )
    ),
]


class ExistingClaim(ApiModel):
    """A PersistentVolumeClaim that is already there."""

    name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: VolumePath = ""
    """Folder of the checkpoint inside the volume. Empty: its root."""


class Storage(ApiModel):
    """The volume that keeps the weights."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessMode))",
                "existingClaim excludes size, storageClassName and accessMode: the claim is already there",
            ),
            rule(
                "!has(self.existingClaim) || !has(self.retentionPolicy) || self.retentionPolicy == 'Retain'",
                "an existingClaim is always retained: the operator deletes only what it made",
            ),
        )
    }

    size: Quantity | None = None
    """Size of the claim. Default: from the model's size, with head-room."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the claim. Default: the cluster's default class."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] | None = None
    """Access mode of the claim; ReadWriteMany where several nodes serve. Default: ReadWriteOnce."""
    existing_claim: ExistingClaim | None = None
    """Serve from this claim instead of making one: what is in it is verified, and nothing is written to it."""
    retention_policy: Literal["Retain", "Delete"] | None = None
    """What becomes of the claim when its last user is deleted. Default: Retain."""


Pattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    Field(
        json_schema_extra=rules(
            rule("!self.contains(',')", "must be one pattern, like *.safetensors; give several as several items")
        )
    ),
]
Patterns = Annotated[list[Pattern], Field(max_length=32, json_schema_extra=ATOMIC_LIST)]
Rate = Annotated[str | int, QuantityRange("16Ki", "1Ti", "must be a quantity from 16Ki to 1Ti, like 50Mi")]


UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class JobResources(ApiModel):
    """CPU and memory of the download Job."""

    requests: ResourceMap = {}
    """What it asks for. Default: cpu 500m, memory 256Mi."""
    limits: ResourceMap = {}
    """What it may use at the most. Default: memory 1Gi; a quota on limits.cpu wants a cpu limit as well."""


class DownloadPod(ApiModel):
    """The pods of the Jobs that download, verify and remove a model."""

    annotations: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], AnnotationValue], Field(max_length=32)
    ] = {}
    """More annotations, like sidecar.istio.io/inject: "false"."""
    labels: Annotated[dict[Annotated[str, StringConstraints(max_length=317)], LabelValue], Field(max_length=32)] = {}
    """More labels."""
    resources: JobResources = JobResources()
    """CPU and memory."""
    run_as_user: UserId | None = None
    """User id. Default: 65532, or the platform's where the operator's setting podIds says so."""
    fs_group: UserId | None = None
    """Group of the volume's files. Default: 2000, which servers have too, or the platform's."""


class DownloadOptions(ApiModel):
    """How a model is downloaded."""

    allow_patterns: Patterns = []
    """Only files whose path matches one of these; `*` also crosses `/`. Default: all but the weights' other formats."""
    ignore_patterns: Patterns = []
    """Not the files whose path matches one of these."""
    bytes_per_second: Rate | None = None
    """At most so many bytes per second, like 50Mi. Default: no limit."""
    max_connections: Annotated[int, Field(ge=1, le=64)] | None = None
    """Connections to the hub at most; the download opens as many as make it faster. Default: 16."""
    ca_bundle_config_map_key_ref: ConfigMapKeyRef | None = None
    """Certificates (PEM) to trust in the place of the public ones. Default: from the operator's settings."""
    pod: DownloadPod = DownloadPod()
    """The pods of the Jobs that download, verify and remove."""


class ModelSource(ApiModel):
    """One checkpoint: what it is, where it comes from, where it is kept."""

    id: ModelId
    """Model on ModelScope: OWNER/NAME."""
    revision: Revision = DEFAULT_REVISION
    """Branch, tag or commit."""
    endpoint: Endpoint | None = None
    """Base URL of the hub or of a mirror. Default: from the operator's settings."""
    token_secret_ref: SecretKeyRef | None = None
    """Access token for the hub."""
    download: Annotated[DownloadOptions, Field(json_schema_extra=EMPTY_DEFAULT)] = DownloadOptions()
    """How the model is downloaded."""
    storage: Annotated[Storage, Field(json_schema_extra=EMPTY_DEFAULT)] = Storage()
    """The volume that keeps the weights."""

    def normal(self) -> Self:
        """The same source in the one form that its name and its manifest are made from: a default that is spelled
        out is unset, paths and patterns are written in one way."""
        storage, options = self.storage, self.download
        claim = storage.existing_claim
        if claim is not None:
            claim = claim.model_copy(update={"path": "/".join(p for p in claim.path.split("/") if p not in ("", "."))})
        mode = None if storage.access_mode == DEFAULT_ACCESS_MODE else storage.access_mode
        patterns = {name: sorted(set(getattr(options, name))) for name in ("allow_patterns", "ignore_patterns")}
        return self.model_copy(
            update={
                "storage": storage.model_copy(update={"access_mode": mode, "existing_claim": claim}),
                "download": options.model_copy(update=patterns),
            }
        )


class Toleration(ApiModel):
    """A toleration, as in a pod."""

    key: Text | None = None
    """Taint key. Empty with operator Exists: every taint."""
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    """How key and value are compared. Default: Equal."""
    value: Text | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect. Empty: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Seconds that a NoExecute taint is tolerated."""


_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def _label_key(key: str) -> str:
    if not _LABEL_KEY.fullmatch(key):
        raise ValueError("must be the name of a label, like nvidia.com/gpu.product")
    return key


NodeSelector = Annotated[
    dict[Annotated[LabelKey, AfterValidator(_label_key)], LabelValue],
    Field(max_length=32, json_schema_extra=ATOMIC_MAP),
]
"""Nodes are listed by it, so what is no label is refused here."""


class Scheduling(ApiModel):
    """Where pods run. The download Job follows it too, so that the volume lands where the GPUs are."""

    node_selector: NodeSelector = {}
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32, json_schema_extra=ATOMIC_LIST)] = []
    """Taints that are tolerated."""
    affinity: Affinity = Affinity()
    """Affinity, as in a pod."""
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint], Field(max_length=8, json_schema_extra=ATOMIC_LIST)
    ] = []
    """Topology spread constraints of the servers, as in a pod."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the servers, like nvidia."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the servers."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the servers. Default: the cluster's."""

    def pod_fields(self, *, server: bool) -> dict[str, Any]:
        """The set ones as fields of a PodSpec; those that only servers have are left out unless `server`."""
        shared = {"node_selector", "tolerations", "affinity"}
        return self.model_dump(by_alias=True, exclude_defaults=True, include=None if server else shared)

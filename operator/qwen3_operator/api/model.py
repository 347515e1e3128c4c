"""Qwen3Model: one verified copy of one ModelScope revision on one volume."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from qwen3_operator.api.base import (
    EMPTY_DEFAULT,
    PASSED_ON,
    SET_LIST,
    ApiModel,
    Capacity,
    ObjectName,
    Text,
    Time,
    list_map,
    rule,
    rules,
)
from qwen3_operator.api.conditions import MAX_MESSAGE, Condition
from qwen3_operator.api.source import DEFAULT_ACCESS_MODE, ModelSource, Scheduling

Int64 = Annotated[int, Field(ge=0, le=2**53 - 1)]


def _access_mode(spec: str) -> str:
    """CEL: the access mode; unset is the default."""
    mode = f"{spec}.storage.accessMode"
    return f"(has({mode}) ? {mode} : '{DEFAULT_ACCESS_MODE}')"


def _folder(spec: str) -> str:
    """CEL: the parts of an existing claim's folder, whatever the way of writing it."""
    path = f"{spec}.storage.existingClaim.path"
    return f"(has({path}) ? {path}.split('/').filter(part, part != '' && part != '.') : [])"


class AdapterOf(ApiModel):
    """The model that an adapter is for."""

    name: ObjectName
    """Name of its Qwen3Model, in the same namespace."""


class Qwen3ModelSpec(ModelSource):
    """Desired state of a Qwen3Model."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.adapterOf) == has(oldSelf.adapterOf)"
                " && (!has(self.adapterOf) || self.adapterOf == oldSelf.adapterOf)",
                "adapterOf is immutable: make another Qwen3Model",
            ),
            rule(
                "!has(self.adapterOf) || (!has(self.storage.size) && !has(self.storage.storageClassName)"
                " && !has(self.storage.accessMode) && !has(self.storage.existingClaim)"
                " && !has(self.storage.retentionPolicy))",
                "an adapter lies on the claim of its model: adapterOf excludes the fields of storage",
            ),
            rule(
                "!has(self.adapterOf) || (!has(self.download.allowPatterns) && !has(self.download.ignorePatterns))",
                "an adapter is just its own files: adapterOf excludes allowPatterns and ignorePatterns",
            ),
            rule("self.id == oldSelf.id", "id is immutable: make another Qwen3Model"),
            rule(
                "has(self.storage.existingClaim) == has(oldSelf.storage.existingClaim)"
                " && (!has(self.storage.existingClaim)"
                " || (self.storage.existingClaim.name == oldSelf.storage.existingClaim.name"
                f" && {_folder('self')} == {_folder('oldSelf')}))",
                "storage.existingClaim is immutable: make another Qwen3Model",
            ),
            rule(
                "has(self.storage.storageClassName) == has(oldSelf.storage.storageClassName)"
                " && (!has(self.storage.storageClassName)"
                " || self.storage.storageClassName == oldSelf.storage.storageClassName)",
                "storage.storageClassName is immutable, as in the claim: make another Qwen3Model",
            ),
            rule(
                f"{_access_mode('self')} == {_access_mode('oldSelf')}",
                "storage.accessMode is immutable, as in the claim: make another Qwen3Model",
            ),
        )
    }

    adapter_of: AdapterOf | None = None
    """It is a LoRA adapter: only its configuration and weights are fetched, onto the claim of the model that it is
    for."""
    scheduling: Annotated[Scheduling, Field(json_schema_extra=EMPTY_DEFAULT)] = Scheduling()
    """Where the download Job runs; of the fields only nodeSelector, tolerations and affinity matter to it."""
    suspend: bool = False
    """Download nothing while true. A download that runs is stopped and later continued."""


class DownloadFailure(ApiModel):
    """How a try ended."""

    reason: Annotated[str, Field(max_length=128)]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """Why, in words."""


class Download(ApiModel):
    """How far a download is, or how it ended."""

    job: Text | None = None
    """Name of the Job."""
    revision: Text | None = None
    """Revision that is downloaded."""
    path: Text | None = None
    """Folder inside the volume that it goes to."""
    progress: Text | None = None
    """How much is on the volume, for people: 12.3 of 15.3 GiB."""
    bytes_done: Int64 | None = None
    """Bytes that are on the volume."""
    bytes_total: Int64 | None = None
    """Bytes that the repository has."""
    bytes_per_second: Int64 | None = None
    """Rate of the last seconds, or of the whole download when it is done."""
    eta_seconds: Int64 | None = None
    """Seconds to go at that rate."""
    files_done: Int64 | None = None
    """Files that are complete."""
    files_total: Int64 | None = None
    """Files that the repository has."""
    started_at: Time | None = None
    """When the Job started."""
    finished_at: Time | None = None
    """When the Job ended."""
    failures: Int64 | None = None
    """Jobs that failed in a row."""
    failure: DownloadFailure | None = None
    """How the last of them ended, until another gets further."""
    retry_at: Time | None = None
    """When the next Job is made."""
    observed_at: Time | None = None
    """When the progress was read."""
    volume_bytes: Int64 | None = None
    """Size of volume that is enough, where the download found it too small."""


MAX_FACTS = 64
# Numbers with fractions are among the facts, which a typed field cannot hold. Depth and size are bounded where they are
# read from the download's report.
ConfigFacts = Annotated[
    dict[str, Any],
    Field(max_length=MAX_FACTS),
    WithJsonSchema({"type": "object", "maxProperties": MAX_FACTS, PASSED_ON: True}),
]


class ModelCopy(ApiModel):
    """The verified copy."""

    revision: Text | None = None
    """Revision that was asked for."""
    commit: Text | None = None
    """Commit that it stood for."""
    claim: Text | None = None
    """PersistentVolumeClaim that holds it."""
    claim_uid: Text | None = None
    """Which claim of that name: one that is made anew holds nothing."""
    path: Text | None = None
    """Folder inside the volume."""
    bytes: Int64 | None = None
    """Size of all files."""
    files: Int64 | None = None
    """Number of files."""
    verified_by: Literal["Hub", "Marker", "Structure"] | None = None
    """Witness of the bytes: the hub's listing, the marker of an earlier download, or the files' structure alone."""
    verified_at: Time | None = None
    """When the files were verified last."""
    repaired_files: Int64 | None = None
    """Files that were fetched again, where the copy was verified because a server found it damaged."""
    weights_bytes: Int64 | None = None
    """Size of the weight files."""
    config: ConfigFacts | None = None
    """Facts of config.json: architecture, heads, layers, quantization, native length. Of an adapter: those of
    adapter_config.json."""
    checkpoint: ConfigFacts | None = None
    """Facts of the files beside it: bytes of the tensors that vLLM loads, what the chat template does, modelopt's
    quantization, modules of sentence-transformers. Of an adapter: rank, layers and modules of its weights."""


class Superseded(ApiModel):
    """A copy of a revision before, or a part of one, that is still on the volume."""

    revision: Text | None = None
    """Its revision."""
    path: Text
    """Its folder inside the volume."""


class Qwen3ModelStatus(ApiModel):
    """Observed state of a Qwen3Model."""

    observed_generation: Int64 | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """VolumeBound, Downloaded, Ready; Reconciling and Stalled as kstatus reads them."""
    model: ModelCopy | None = None
    """The verified copy, once there is one."""
    download: Download | None = None
    """The download's progress."""
    superseded: Annotated[list[Superseded], Field(max_length=64, json_schema_extra=list_map("path"))] = []
    """Folders of revisions before. They are removed when no server runs on them any more."""
    users: Int64 | None = None
    """Number of Qwen3Deployments and Qwen3Batches that use this copy."""
    used_by: Annotated[list[ObjectName], Field(max_length=1000, json_schema_extra=SET_LIST)] = []
    """Names of the first of them, at most 20."""
    retention_policy: Literal["Retain", "Delete"] | None = None
    """What becomes of the claim with its last user, as all users together say: where they differ, it is retained."""
    decided_by: Text | None = None
    """Whose token, endpoint, size and scheduling count: the first user, or the model itself where nobody made it for
    one."""
    endpoint: Text | None = None
    """Base URL of the hub that the files come from."""
    size: Capacity | None = None
    """Capacity of the volume."""


class Qwen3Model(ApiModel):
    """One verified copy of one ModelScope revision on one volume, shared by all that serve it."""

    KIND: ClassVar[str] = "Qwen3Model"
    PLURAL: ClassVar[str] = "qwen3models"

    metadata: Annotated[dict[str, Any], Field(exclude=True)] = {}
    spec: Qwen3ModelSpec
    """Desired state."""
    status: Qwen3ModelStatus = Qwen3ModelStatus()
    """Observed state."""

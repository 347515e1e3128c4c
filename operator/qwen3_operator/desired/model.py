"""The Qwen3Models that a Qwen3Deployment makes for itself and shares with others: its model's, and its adapters'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.engine import LoraAdapter
from qwen3_operator.api.source import ModelSource
from qwen3_operator.naming import MANAGED_BY, MANAGER, PART_OF


def adapter_source(spec: Qwen3DeploymentSpec, adapter: LoraAdapter) -> ModelSource:
    """Where an adapter comes from: as its model, unless that is somebody else's, whose token is not ours to use."""
    given: dict[str, Any] = {"id": adapter.id, "revision": adapter.revision}
    if spec.model_ref is None and spec.model is not None:
        given |= {"endpoint": spec.model.endpoint, "token_secret_ref": spec.model.token_secret_ref}
        given["download"] = spec.model.download.model_copy(update={"allow_patterns": [], "ignore_patterns": []})
    if adapter.token_secret_ref is not None:
        given["token_secret_ref"] = adapter.token_secret_ref
    return ModelSource(**given)


def adapter_model(
    namespace: str, name: str, source: ModelSource, base: str, scheduling: Mapping[str, Any]
) -> dict[str, Any]:
    """The Qwen3Model `name` of a LoRA adapter that lies on the claim of the Qwen3Model `base`, without its holders."""
    said = source.model_dump(by_alias=True, exclude_none=True, exclude={"download", "storage"})
    if download := source.download.model_dump(by_alias=True, exclude_defaults=True):
        said["download"] = download
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {PART_OF: MANAGER, MANAGED_BY: MANAGER},
        },
        "spec": said | {"adapterOf": {"name": base}} | ({"scheduling": scheduling} if scheduling else {}),
    }


def shared_model(namespace: str, name: str, spec: Qwen3DeploymentSpec) -> dict[str, Any]:
    """The Qwen3Model `name` for `spec`, without its holders."""
    normal = spec.source.normal()
    source = normal.model_dump(by_alias=True, exclude_none=True, exclude={"download"})
    if download := normal.download.model_dump(by_alias=True, exclude_defaults=True):
        source["download"] = download
    if scheduling := spec.scheduling.pod_fields(server=False):
        source["scheduling"] = scheduling
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {PART_OF: MANAGER, MANAGED_BY: MANAGER},
        },
        "spec": source,
    }

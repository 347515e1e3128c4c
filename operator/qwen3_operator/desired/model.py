"""The Qwen3Model that a Qwen3Deployment makes for itself and shares with others."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.naming import MANAGED_BY, MANAGER, PART_OF


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

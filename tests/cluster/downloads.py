"""How simulated downloads go: their reports, and Stages that make them fail or wait in one namespace."""

from __future__ import annotations

import json
from typing import Any

from devcluster.stages import DOWNLOAD_LABEL, PREFIX, FakeDownload, pod_complete

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1000000,
    "tie_word_embeddings": True,
}
COMMIT = "e6de91484c29aa9480d55605af694f39b081c455"

COMPLETE: dict[str, Any] = {
    "result": "Complete",
    "commit": COMMIT,
    "bytes": 1_519_209_216,
    "files": 10,
    "weightsBytes": 1_503_300_328,
    "bytesPerSecond": 100_000_000,
    "config": CONFIG,
}


def failed(reason: str, message: str, exit_code: int) -> FakeDownload:
    """A download that ends as the downloader ends when it fails."""
    report = {"result": "Failed", "reason": reason, "message": message, "exitCode": exit_code}
    return FakeDownload(report, exit_code)


NEVER_ENDS = FakeDownload(COMPLETE, seconds=3600)


def stage(namespace: str, download: FakeDownload, *, only_job_of: str = "") -> dict[str, Any]:
    """A Stage that ends the download pods of one namespace (or of one Qwen3Model there) in its own way."""
    made = pod_complete(download)
    made["metadata"]["name"] = f"download-{namespace}"
    made["spec"]["weight"] = 1  # before the cluster's own, which weighs nothing
    theirs = f".metadata.namespace == {json.dumps(namespace)}"
    if only_job_of:
        theirs += f' and .metadata.labels["serving.qwen3.dev/model"] == {json.dumps(only_job_of)}'
    made["spec"]["selector"]["matchExpressions"].append({"jq": {"key": theirs, "operator": "In", "values": ["true"]}})
    return made


def held_back(namespace: str, reason: str, message: str) -> dict[str, Any]:
    """A Stage by which the download pods of one namespace wait, as a kubelet makes them: it gives them the annotations,
    which stay when the Stage goes."""
    label, value = DOWNLOAD_LABEL
    when = (
        f".metadata.namespace == {json.dumps(namespace)} and .metadata.deletionTimestamp == null"
        f" and .metadata.labels[{json.dumps(label)}] == {json.dumps(value)}"
        f" and .metadata.annotations[{json.dumps(PREFIX + 'waiting-reason')}] == null"
    )
    annotations = {f"{PREFIX}waiting-reason": reason, f"{PREFIX}waiting-message": message}
    patch = {"root": "metadata", "type": "merge", "template": json.dumps({"annotations": annotations})}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"download-{namespace}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": [{"jq": {"key": when, "operator": "In", "values": ["true"]}}]},
            "weight": 1,  # before the cluster's own, which weigh nothing
            "steps": [{"patch": patch}],
        },
    }

"""What /metrics shows of each object of ours, and what it counts of their downloads. docs/metrics.md lists it.

Written where the status is written, from the same words. Series of an object go when the object goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Histogram

from qwen3_operator import __version__
from qwen3_operator.api.conditions import Type
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller import metrics
from qwen3_operator.controller.metrics import BUILD, CONDITION, NOT_READY, ObjectGauge
from qwen3_operator.engine.diagnosis import gpus_wanted
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile.key import Key

Object = Mapping[str, Any]

ALERTING = (Type.READY, Type.STALLED, Type.MODEL_READY)
"""The conditions that are shown, of the kinds that have them."""

# Servers have the same label in the PodMonitor of the chart, so that these and vLLM's own metrics come together.
_DEPLOYMENT, _BATCH, _MODEL = ["namespace", "qwen3deployment"], ["namespace", "qwen3batch"], ["namespace", "qwen3model"]

REPLICAS = ObjectGauge("qwen3_operator_deployment_replicas", "Servers that are wanted; 0 while suspended", _DEPLOYMENT)
READY_REPLICAS = ObjectGauge("qwen3_operator_deployment_ready_replicas", "Servers that are ready", _DEPLOYMENT)
DEPLOYMENT_GPUS = ObjectGauge("qwen3_operator_deployment_gpus", "GPUs of the servers that have a node", _DEPLOYMENT)
BATCH_GPUS = ObjectGauge("qwen3_operator_batch_gpus", "GPUs of the shards that have a node", _BATCH)
DOWNLOAD_BYTES = ObjectGauge(
    "qwen3_operator_download_bytes", "Bytes of a model that are on its volume, until the copy is verified", _MODEL
)
DOWNLOAD_SIZE = ObjectGauge(
    "qwen3_operator_download_size_bytes", "Bytes that a model has in all, until the copy is verified", _MODEL
)
DOWNLOADS = Counter("qwen3_operator_downloads", "Download Jobs that ended: complete or failed", ["result"])
for _result in ("complete", "failed"):
    DOWNLOADS.labels(_result)
DOWNLOADED_BYTES = Counter(
    "qwen3_operator_downloaded_bytes", "Bytes that download Jobs put on a volume, or found there and verified"
)
DOWNLOAD_SECONDS = Histogram(
    "qwen3_operator_download_seconds",
    "Seconds of a download Job that completed",
    buckets=(10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200),
)


def show_build() -> None:
    """Set `qwen3_operator_build_info`."""
    BUILD.info({"version": __version__})


def show(kind: str, obj: Object, status: Object, pods: Iterable[Object] | None) -> None:
    """Set the series of one object by its new `status`. `pods`: all of its own; None: as they were."""
    meta, conditions = obj["metadata"], {c["type"]: c for c in status["conditions"]}
    key = Key(kind, meta["namespace"], meta["name"])
    shown: dict[tuple[str, ...], float] = {
        (*key, str(type)): _is_true(conditions[type]) for type in ALERTING if type in conditions
    }
    CONDITION.show(key, shown)
    ready = conditions.get(Type.READY)
    NOT_READY.show(key, {(*key, ready["reason"]): 1} if ready and not _is_true(ready) else {})
    own = (key.namespace, key.name)
    if kind == QWEN3_DEPLOYMENTS.kind:
        REPLICAS.show(key, {own: _wanted(obj, status)})
        READY_REPLICAS.show(key, {own: status.get("readyReplicas") or 0})
    elif kind == QWEN3_MODELS.kind:
        _show_download(key, status, conditions)
    gauge = {QWEN3_DEPLOYMENTS.kind: DEPLOYMENT_GPUS, QWEN3_BATCHES.kind: BATCH_GPUS}.get(kind)
    if gauge is not None and pods is not None:
        placed = (pod for pod in pods if pod["spec"].get("nodeName") and not _has_ended(pod))
        gauge.show(key, {own: sum(map(gpus_wanted, placed))})


def forget(key: Key) -> None:
    """Drop the series of an object that is gone."""
    metrics.forget(key)


def count(kind: str, before: Object, status: Object) -> None:
    """Count what a model's download has done between two statuses, once the second is written."""
    if kind != QWEN3_MODELS.kind:
        return
    was, now = before.get("download") or {}, status.get("download") or {}
    same_copy = was.get("path") == now.get("path")
    DOWNLOADED_BYTES.inc(max(0, _number(now, "bytesDone") - (_number(was, "bytesDone") if same_copy else 0)))
    if not now.get("finishedAt") or now["finishedAt"] == was.get("finishedAt"):
        return
    if now.get("failure"):
        DOWNLOADS.labels("failed").inc()
    elif "bytesDone" in now:  # what only lists the files has none
        DOWNLOADS.labels("complete").inc()
        started, finished = parse_time(now.get("startedAt")), parse_time(now["finishedAt"])
        if started and finished:
            DOWNLOAD_SECONDS.observe(max(0.0, (finished - started).total_seconds()))


def _show_download(key: Key, status: Object, conditions: Mapping[str, Object]) -> None:
    """Progress, as long as something is to be fetched."""
    own, download = (key.namespace, key.name), status.get("download") or {}
    downloaded = conditions.get(Type.DOWNLOADED, {})
    under_way = bool(download.get("job")) and downloaded.get("status") == "False"
    under_way = under_way and downloaded.get("reason") != "Suspended"
    DOWNLOAD_BYTES.show(key, {own: _number(download, "bytesDone")} if under_way else {})
    total = _number(download, "bytesTotal")
    DOWNLOAD_SIZE.show(key, {own: total} if under_way and total else {})


def _is_true(condition: Object) -> bool:
    return bool(condition["status"] == "True")


def _wanted(obj: Object, status: Object) -> int:
    """Servers that a spec asks for, one that cannot be read perhaps, or its autoscaler."""
    spec = obj.get("spec") or {}
    replicas = (status.get("autoscaling") or {}).get("desiredReplicas", spec.get("replicas", 1))
    return replicas if isinstance(replicas, int) and spec.get("suspend") is not True else 0


def _number(download: Object, name: str) -> int:
    return int(download.get(name) or 0)


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")

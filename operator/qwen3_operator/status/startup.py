"""How long the stages of a server's start took: from the pod's timestamps and vLLM's own log lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.times import parse_time
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.startup_log import parse_startup_log


def startup_status(pod: Mapping[str, Any], log: str) -> dict[str, Any]:
    """`status.startup` of a server that is ready. Seconds; what is not known is left out."""
    meta, status = pod["metadata"], pod.get("status", {})
    created = parse_time(meta.get("creationTimestamp"))
    placed = parse_time(condition_of(pod, "PodScheduled").get("lastTransitionTime"))
    ready = parse_time(condition_of(pod, "Ready").get("lastTransitionTime"))
    containers = [c for c in status.get("containerStatuses") or [] if c.get("name") == CONTAINER]
    running = ((containers[0].get("state") or {}).get("running") or {}) if containers else {}
    started = parse_time(running.get("startedAt"))
    said = parse_startup_log(log.splitlines())
    stages = {
        "scheduledSeconds": _between(created, placed),
        "pulledSeconds": _between(placed, started),
        "weightsSeconds": _whole(said.weights_seconds),
        "compileSeconds": _whole(said.compile_seconds),
        "graphsSeconds": _whole(said.graphs_seconds),
        "readySeconds": _between(started, ready),
        "kvCacheTokens": said.kv_cache_tokens,
        "withoutMiddleware": said.without_middleware,
    }
    return {"pod": meta["name"]} | {stage: value for stage, value in stages.items() if value is not None}


def _between(start: datetime | None, end: datetime | None) -> int | None:
    return max(0, round((end - start).total_seconds())) if start and end else None


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)

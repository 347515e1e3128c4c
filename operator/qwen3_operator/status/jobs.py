"""What a Job says of itself: how it ended, and whether it comes to have pods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from qwen3_operator.api.times import parse_time

Object = Mapping[str, Any]


def job_result(job: Object | None) -> str | None:
    """ "Complete", "Failed", or None while the Job goes on."""
    conditions = (job or {}).get("status", {}).get("conditions") or []
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def started_at(job: Object | None) -> datetime | None:
    """When the Job's controller began with it."""
    return parse_time(((job or {}).get("status") or {}).get("startTime"))


def lacks_pods(job: Object | None) -> bool:
    """Whether the Job's controller began and has not one pod, nor one that still ends: it notes its start and its first
    pods in one write, and makes the next when the one before is over."""
    status = (job or {}).get("status") or {}
    counts = ("active", "ready", "terminating", "succeeded", "failed")
    return bool(status.get("startTime")) and not any(map(status.get, counts)) and job_result(job) is None

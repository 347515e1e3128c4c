"""What the download Job says: its pods' termination messages and the progress lines in its log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qwen3_operator.desired.download import CONTAINER
from qwen3_operator.status.pods import PodView


def _terminated(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status.get("name") == CONTAINER:
            terminated: Mapping[str, Any] | None = (status.get("state") or {}).get("terminated")
            return terminated
    return None


def final_report(pods: Iterable[PodView], result: str) -> dict[str, Any] | None:
    """The newest termination message with that `result` ("Complete" or "Failed") among the Job's pods."""
    reports = []
    for view in pods:
        terminated = _terminated(view.pod)
        if not terminated:
            continue
        try:
            report = json.loads(terminated.get("message") or "")
        except ValueError:
            report = None
        if not isinstance(report, dict) or "result" not in report:
            if terminated.get("exitCode") == 0:
                continue
            # The container died before it could say why: what the kubelet knows has to do.
            why = terminated.get("reason") or "Error"
            report = {
                "result": "Failed",
                "reason": "OutOfMemory" if why == "OOMKilled" else f"Download{why}",
                "message": f"the download ended with exit code {terminated.get('exitCode')}"
                + (f": {terminated['message']}" if terminated.get("message") else ""),
            }
        if report["result"] == result:
            reports.append((terminated.get("finishedAt") or "", report))
    return max(reports, key=lambda pair: pair[0])[1] if reports else None


def latest_progress(log_tail: str) -> dict[str, int]:
    """The newest progress line in the tail of a log, as fields of `status.download`."""
    for line in reversed(log_tail.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "progress":
            names = ("bytesDone", "bytesTotal", "bytesPerSecond", "etaSeconds", "filesDone", "filesTotal")
            return {n: int(event[n]) for n in names if isinstance(event.get(n), int | float) and event[n] >= 0}
    return {}

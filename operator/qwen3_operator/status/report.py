"""What the download Job says: its pods' termination messages and the progress lines in its log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
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
        report = _read(terminated)
        if report is not None and report["result"] == result:
            reports.append((str(terminated.get("finishedAt") or ""), report))
    return max(reports, key=lambda pair: pair[0])[1] if reports else None


def _read(terminated: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report in a termination message. Without one, a failure is told by what the kubelet knows."""
    ended = f"the download ended with exit code {terminated.get('exitCode')}"
    try:
        said = json.loads(terminated.get("message") or "")
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("result") in ("Complete", "Failed"):
        # Anybody may have built the image: what is not of its type does not get into a status.
        report = {key: value for key, value in said.items() if key in _TYPES and _TYPES[key](value)}
        if report["result"] == "Failed":
            report = {"reason": "DownloadFailed", "message": ended} | report
        return report
    if terminated.get("exitCode") == 0:
        return None
    # The container died before it could say why.
    why = terminated.get("reason") or "Error"
    reason = "OutOfMemory" if why == "OOMKilled" else f"Download{why}"
    words = f": {terminated['message']}" if terminated.get("message") else ""
    return {"result": "Failed", "reason": reason, "message": ended + words}


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LIMIT


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 0


_LIMIT = 2**53
"""Integers below it survive every JSON reader."""
_TYPES: dict[str, Callable[[Any], bool]] = {
    "result": _is_text,
    "reason": lambda value: isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z0-9]{0,99}", value) is not None,
    "message": _is_text,
    "commit": lambda value: _is_text(value) and len(value) <= 1024,
    "bytes": _is_size,
    "files": _is_size,
    "weightsBytes": _is_size,
    "bytesPerSecond": _is_size,
    "fetchedFiles": _is_size,
    "volumeBytes": _is_size,
    "fileSystemBytes": _is_size,
    "verifiedBy": lambda value: value in ("hub", "marker", "structure"),
    "config": lambda value: isinstance(value, dict),
}


def latest_progress(log_tail: str) -> dict[str, int]:
    """The newest progress line in the tail of a log, as fields of `status.download`."""
    for line in reversed(log_tail.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "progress":
            names = ("bytesDone", "bytesTotal", "bytesPerSecond", "etaSeconds", "filesDone", "filesTotal")
            return {name: int(event[name]) for name in names if _is_size(event.get(name))}
    return {}

"""What the download Job says: its pods' termination messages and the progress lines in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.download import CONTAINER
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.words import are_facts, counts, is_reason, is_size, is_text, json_object, newest_event


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
    """The report in a termination message. Without one, a failure is described by what the kubelet knows."""
    ended = f"the download ended with exit code {terminated.get('exitCode')}"
    said = json_object(str(terminated.get("message") or "").strip())
    if said is not None and said.get("result") in ("Complete", "Failed"):
        report = {key: value for key, value in said.items() if key in _TYPES and _TYPES[key](value)}
        return _failure(report, ended) if report["result"] == "Failed" else report
    if terminated.get("exitCode") == 0:
        return None
    # The container died before it could say why.
    why = terminated.get("reason")
    reason = Reason.OUT_OF_MEMORY if why == "OOMKilled" else Reason.DOWNLOAD_FAILED
    cause = f" ({why})" if why and why != "Error" else ""
    words = f": {terminated['message']}" if terminated.get("message") else ""
    return {"result": "Failed", "reason": reason, "message": ended + cause + words}


def _failure(report: dict[str, Any], ended: str) -> dict[str, Any]:
    """A report of a failure, with a reason that is one of ours: another release of the downloader may have others."""
    message, word = report.get("message", ended), report.get("reason", "")
    reason = Reason.known(word, Reason.DOWNLOAD_FAILED)
    return report | {"reason": reason, "message": message if reason == word or not word else f"{word}: {message}"}


_LARGEST_VOLUME = 2**50
"""The largest claim that may be asked for, as in spec.model.storage.size."""
_TYPES: dict[str, Callable[[Any], bool]] = {
    "result": is_text,
    "reason": is_reason,
    "message": is_text,
    "commit": lambda value: is_text(value) and len(value) <= 1024,
    "bytes": is_size,
    "files": is_size,
    "weightsBytes": is_size,
    "bytesPerSecond": is_size,
    "fetchedFiles": is_size,
    "volumeBytes": lambda value: is_size(value) and value <= _LARGEST_VOLUME,
    "fileSystemBytes": is_size,
    "verifiedBy": lambda value: value in ("hub", "marker", "structure"),
    "config": are_facts,
    "checkpoint": are_facts,
}


def latest_progress(log_tail: str) -> dict[str, int]:
    """The newest progress line in the tail of a log, as fields of `status.download`."""
    names = ("bytesDone", "bytesTotal", "bytesPerSecond", "etaSeconds", "filesDone", "filesTotal")
    return counts(newest_event(log_tail, {"progress"}), names)

"""The last words: a JSON object of less than 4096 bytes that the kubelet hands to the operator."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from qwen3_download.errors import Failure
from qwen3_download.facts import WHOLE

LIMIT = 4095
FACTS = ("config", "checkpoint")
"""What may be left out of a report that is too long."""
DEFAULT_PATH = Path("/dev/termination-log")


def failure_report(failure: Failure) -> dict[str, Any]:
    """The report of a failed run."""
    return {
        "result": "Failed",
        "reason": str(failure.reason),
        "message": str(failure),
        "exitCode": failure.exit_code,
        **failure.facts,
    }


def encode(report: dict[str, Any]) -> bytes:
    """UTF-8 JSON within LIMIT: the longest of the facts go first, then the end of the message."""
    report = copy.deepcopy(report)
    text = _dump(report)
    while len(text) > LIMIT and (longest := _longest(report)):
        holder, key = longest
        del holder[key]
        text = _dump(report)
    while len(text) > LIMIT and report.get("message"):
        message = report["message"]
        report["message"] = message[: len(message) - max(1, (len(text) - LIMIT) // 4)]
        text = _dump(report)
    return text


def _longest(report: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
    """Where the longest fact is that is no map itself; None where there is none left."""
    found: list[tuple[int, dict[str, Any], str]] = []
    open_ = [report[name] for name in FACTS if isinstance(report.get(name), dict)]
    while open_:
        holder = open_.pop()
        for key, value in holder.items():
            if isinstance(value, dict) and value and key not in WHOLE:
                open_.append(value)
            else:
                found.append((len(key) + len(_dump(value)), holder, key))
    return max(found, key=lambda item: item[0])[1:] if found else None


def write(report: dict[str, Any], path: Path | None) -> None:
    """Write to `path`, or to the kubelet's file where there is one."""
    if path is None:
        if not (DEFAULT_PATH.is_file() and os.access(DEFAULT_PATH, os.W_OK)):
            return
        path = DEFAULT_PATH
    path.write_bytes(encode(report))


def _dump(value: Any) -> bytes:
    """Halves of a character, as JSON and names of files may have them, become a `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

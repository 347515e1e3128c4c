"""The last words: a JSON object of less than 4096 bytes that the kubelet hands to the operator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qwen3_download.errors import Failure

LIMIT = 4095
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
    """UTF-8 JSON within LIMIT: long lists of the configuration go first, then the end of the message."""
    report = dict(report)
    text = _dump(report)
    if len(text) > LIMIT and "config" in report:
        config = dict(report["config"])
        for key in sorted(config, key=lambda k: -len(_dump(config[k]))):
            if len(text) <= LIMIT:
                break
            del config[key]
            report["config"] = config
            text = _dump(report)
    while len(text) > LIMIT and report.get("message"):
        message = report["message"]
        report["message"] = message[: len(message) - max(1, (len(text) - LIMIT) // 4)]
        text = _dump(report)
    return text


def write(report: dict[str, Any], path: Path | None) -> None:
    """Write to `path`, or to the kubelet's file where there is one."""
    if path is None:
        if not (DEFAULT_PATH.is_file() and os.access(DEFAULT_PATH, os.W_OK)):
            return
        path = DEFAULT_PATH
    path.write_bytes(encode(report))


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

"""Shows what a Qwen3Deployment says of itself, as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from demo.kube import DemoError, Kube

Say = Callable[[str], None]
SUMMARIES = ("Ready", "Stalled")
"""Conditions that repeat another one until they are true."""
WIDTH = 160


def wait_ready(kube: Kube, namespace: str, name: str, *, timeout: float = 300, say: Say = print) -> dict[str, Any]:
    """The Qwen3Deployment once it is Ready for its present spec; prints each change of a condition, and the download.

    Raises DemoError when it is not Ready in `timeout` seconds, or when it says that a person has to act.
    """
    printed: dict[str, str] = {}
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        found: dict[str, Any] = kube.get("qwen3deployment", name, "-n", namespace)
        status = found.get("status", {})
        for line_of, line in _lines(status):
            if printed.get(line_of) != line:
                printed[line_of] = line
                say(line)
        conditions = {c["type"]: c for c in status.get("conditions", [])}
        if status.get("observedGeneration") == found["metadata"]["generation"]:
            if conditions["Ready"]["status"] == "True":
                return found
            if conditions["Stalled"]["status"] == "True":
                raise DemoError(f"{name} is stalled: {conditions['Stalled']['message']}")
        time.sleep(0.3)
    raise DemoError(f"{name} was not Ready in {timeout:.0f} s:\n" + "\n".join(printed.values()))


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if (download := status.get("download")) and download.get("bytesTotal"):
        done, total = download.get("bytesDone", 0), download["bytesTotal"]
        rate = f" at {download['bytesPerSecond'] / 1e6:.1f} MB/s" if download.get("bytesPerSecond") else ""
        lines.append(("download", f"  download      {done / total:4.0%} of {total / 1e6:.2f} MB{rate}"))
    for c in status.get("conditions", []):
        if c["type"] == "Reconciling" or (c["type"] in SUMMARIES and c["status"] != "True"):
            continue
        message = c["message"].splitlines()[0] if c["message"] else ""
        message = message if len(message) <= WIDTH else f"{message[:WIDTH]}…"
        lines.append((c["type"], f"  {c['type']:<13} {c['status']:<8} {c['reason']:<18} {message}"))
    return lines

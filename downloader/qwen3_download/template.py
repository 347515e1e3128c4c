"""What a chat template does: whether it thinks, and how it has tool calls written.

A template is a program of whoever owns the repository, and this process has the hub's token. So a process of its own
renders it (rendering.py): nothing of this one's environment goes there, and of what comes back only known words count.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import Any

LONGEST = 512 * 1024
"""Characters; Qwen's longest template has 9,000."""
_CPU_SECONDS = 5
"""Of the whole process; Python's start is most of the 0.2 s that it takes."""
_SECONDS = 60
"""By the clock: what waits takes no CPU time, and a machine may be busy."""
_LONGEST_ANSWER = 1024
_KNOWN: dict[str, tuple[Any, ...]] = {
    "thinks": ("always", "never", "switchable"),
    "byDefault": (True, False),
    "tools": ("json", "xml", "other", "none"),
}


def describe(template: str, *, cpu_seconds: int = _CPU_SECONDS) -> dict[str, Any]:
    """{"thinks": "always" | "never" | "switchable", "byDefault": bool, "tools": "json" | "xml" | "other" | "none"},
    each only where it is known; {} without a template, and for one that cannot be rendered within its limits.

    ``tools``: JSON or XML inside <tool_call>, a form of its own, or none: it does not show tools to the model.
    """
    if not template or len(template) > LONGEST:
        return {}
    try:
        said = json.loads(_render(template.encode("utf-8", "replace"), cpu_seconds))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: said[name] for name, known in _KNOWN.items() if said.get(name) in known}


def _render(template: bytes, cpu_seconds: int) -> bytes:
    """What the process says, at most _LONGEST_ANSWER of it; empty where it was ended. Raises OSError."""
    command = [sys.executable, "-P", "-s", "-m", "qwen3_download.rendering", str(cpu_seconds)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert process.stdin is not None and process.stdout is not None
    limit = threading.Timer(_SECONDS, process.kill)
    limit.start()
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(template)
        return process.stdout.read(_LONGEST_ANSWER)
    finally:
        limit.cancel()
        process.kill()
        process.stdout.close()
        process.wait()

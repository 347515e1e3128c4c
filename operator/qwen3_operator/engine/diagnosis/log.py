"""The cause in the log of a server that failed."""

from __future__ import annotations

import re

from qwen3_operator.engine.diagnosis.patterns import Cause, first_cause

_PREFIX = re.compile(
    r"^(?:\([\w :=]+?pid=\d+\) )?(?:(?:ERROR|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]*\] )?)?"
)
_ERROR = re.compile(r"^(?P<text>(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt): .+)$", re.MULTILINE)
_WRAPPED = re.compile(r"Value error, (?P<text>.+?)(?: \[type=|$)", re.MULTILINE)
_ECHOES = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "ValidationError: 1 validation error",
    "EngineDeadError",
)
_LONGEST_QUOTE = 300


def first_error(log: str) -> Cause | None:
    """The first error of a log that is not the echo of another one."""
    text = "\n".join(_PREFIX.sub("", line) for line in log.splitlines())
    wrapped = _WRAPPED.search(text)
    found = [wrapped["text"]] if wrapped else [match["text"] for match in _ERROR.finditer(text)]
    original = next((error for error in found if not any(echo in error for echo in _ECHOES)), None)
    if original is None:
        return None
    quote = original if len(original) <= _LONGEST_QUOTE else original[:_LONGEST_QUOTE] + "…"
    return Cause("ServerFailed", f"the server failed: {quote}", "read the whole log (kubectl logs --previous)")


def diagnose_log(log: str) -> Cause | None:
    """The cause in the log of a server that failed: a known text, else the error that came first, else None."""
    return first_cause("log", log) or first_error(log)

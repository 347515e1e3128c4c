"""The cause in the log of a server that failed."""

from __future__ import annotations

import re

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.diagnosis.patterns import Cause, first_cause
from qwen3_operator.engine.text import bounded_lines

_PREFIX = re.compile(
    r"(?:\([\w :=]{1,60}?pid=\d{1,9}\) )?(?:(?:ERROR|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]{0,200}\] )?)?"
)
_ERROR = re.compile(r"[\w.]{0,200}(?:Error|Exception|Interrupt): .+")
_WRAPPED = "Value error, "
_ECHOES = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "ValidationError: 1 validation error",
    "EngineDeadError",
)
_LONGEST_QUOTE = 300


def first_error(log: str) -> Cause | None:
    """The first error of a log that is not the echo of another one."""
    lines = [line[_length_of_prefix(line) :] for line in bounded_lines(log)]
    wrapped = [line.partition(_WRAPPED)[2].partition(" [type=")[0] for line in lines if _WRAPPED in line][:1]
    found = wrapped or [line for line in lines if _ERROR.match(line)]
    original = next((error for error in found if not any(echo in error for echo in _ECHOES)), None)
    if original is None:
        return None
    quote = original if len(original) <= _LONGEST_QUOTE else original[:_LONGEST_QUOTE] + "…"
    return Cause(Reason.SERVER_FAILED, f"the server failed: {quote}", "read the whole log (kubectl logs --previous)")


def _length_of_prefix(line: str) -> int:
    match = _PREFIX.match(line)
    return match.end() if match else 0


def diagnose_log(log: str) -> Cause | None:
    """The cause in the log of a server that failed: a known text, else the error that came first, else None."""
    return first_cause("log", log) or first_error(log)

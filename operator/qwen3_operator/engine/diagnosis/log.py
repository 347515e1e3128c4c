"""The cause in the log of a server that failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.diagnosis.patterns import Cause, first_cause
from qwen3_operator.engine.text import bounded_lines

_PREFIX = re.compile(
    r"(?:\((?P<process>[\w :=]{1,60}?)pid=\d{1,9}\) )?"
    r"(?:(?P<logged>(?:ERROR|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d) (?:\[(?P<file>[^\]]{0,200})\] )?)?"
)
_ERROR = re.compile(r"[\w.]{0,200}(?:Error|Exception|Interrupt)(?:: .+|\s{0,8}$)")
_ASSERTED = re.compile(r"\s{1,40}(assert .{1,300})")
_OF_ENGINE = re.compile(r"EngineCore|Worker")
_FILES_OF_ENGINE = re.compile(r"core\.py|multiproc_executor\.py|\w{0,20}worker\w{0,20}\.py|\w{0,20}model_runner\.py")
_WRAPPED = "Value error, "
_ECHOES = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "ValidationError: 1 validation error",
    "EngineDeadError",
)
_LONGEST_QUOTE = 300
_LINES_OF_ASSERTION = 3
"""How far above a bare AssertionError its expression stands: a line of ^^^^ may be between."""


class Weight(IntEnum):
    """How much an error in a log says about why the server is not there."""

    ENGINE = 0
    """Of the engine or a worker, which hold the model."""
    FATAL = 1
    """Printed by Python itself at the end of a process."""
    LOGGED = 2
    """Logged by the API server, which lives on: a request was bad, or its answer was cut."""


@dataclass(frozen=True)
class _Error:
    weight: Weight
    text: str


def first_error(log: str, least: Weight = Weight.LOGGED) -> Cause | None:
    """The first error of a log that is not the echo of another one, of those that weigh most. `least`: no lighter."""
    lines = bounded_lines(log)
    wrapped = next((line.partition(_WRAPPED)[2].partition(" [type=")[0] for line in lines if _WRAPPED in line), None)
    if wrapped is not None and least >= Weight.FATAL:
        return _quoted(wrapped)
    found = [error for error in _errors(lines) if not any(echo in error.text for echo in _ECHOES)]
    original = min(found, key=lambda error: error.weight, default=None)
    return None if original is None or original.weight > least else _quoted(original.text)


def _errors(lines: Sequence[str]) -> Iterator[_Error]:
    """Every line that names an exception, in order; of a bare assertion, what it asserts."""
    above: list[str] = []
    for line in lines:
        prefix = _PREFIX.match(line)
        words = line[prefix.end() :] if prefix else line
        if _ERROR.match(words):
            asserted = next((m[1] for text in reversed(above) if (m := _ASSERTED.fullmatch(text))), "")
            bare = ":" not in words and asserted
            yield _Error(_weight(prefix), f"{words.strip()}: {asserted}" if bare else words)
        above = [*above, words][-_LINES_OF_ASSERTION:]


def _weight(prefix: re.Match[str] | None) -> Weight:
    process, logged, file = (prefix["process"], prefix["logged"], prefix["file"]) if prefix else (None, None, None)
    if _OF_ENGINE.match(process or "") or _FILES_OF_ENGINE.match(file or ""):
        return Weight.ENGINE
    return Weight.LOGGED if logged else Weight.FATAL


def _quoted(error: str) -> Cause:
    quote = error if len(error) <= _LONGEST_QUOTE else error[:_LONGEST_QUOTE] + "…"
    return Cause(Reason.SERVER_FAILED, f"the server failed: {quote}", "read the whole log (kubectl logs --previous)")


def diagnose_log(log: str) -> Cause | None:
    """The cause in the log of a server that failed: a known text, else the error that came first, else None."""
    return first_cause("log", log) or first_error(log)

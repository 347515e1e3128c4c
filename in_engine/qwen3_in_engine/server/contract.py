"""What the operator and the middleware say to each other: the configuration, the paths of the probes, the exit code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from qwen3_in_engine.verify.wanted import Verify

VARIABLE = "QWEN3_SERVER"
"""Environment variable with the configuration, as JSON."""

STARTED_PATH, LIVE_PATH, READY_PATH = "/qwen3/startedz", "/qwen3/livez", "/qwen3/readyz"
"""Probes that the middleware answers: 200, or 503 with the reason as text."""

EXIT_WRONG_ANSWERS = 86
"""Exit code of a server that does not answer as its model; the termination message says what was got."""
WRONG_ANSWERS = "AnswersWrong"
"""First word of that termination message."""
KEYS_VARIABLE, LIMITS_VARIABLE = "QWEN3_KEYS", "QWEN3_LIMITS"
"""Environment variables of a server that asks for keys: the folder with the keys, the file with the limits."""
EXIT_KEYS_UNUSABLE = 87
"""Exit code of a server that has to ask for keys and cannot: nobody may get in then."""
KEYS_UNUSABLE = "KeysUnusable"
"""First word of its termination message."""
ADAPTERS_VARIABLE = "QWEN3_ADAPTERS"
"""Environment variable with the list of LoRA adapters: {"version", "adapters": [{"name", "path"}]}."""
ADAPTERS_LINE = "adapters"
"""First word of a log line, after `qwen3: `, with what the server has of them: JSON with version, served, failed."""
BENCHMARK_VARIABLE = "QWEN3_BENCHMARK"
"""Environment variable of a server that measures its capacity before it has users: see `capacity.contract`."""
NOT_LOADED = "qwen3: the middleware is not loaded:"
"""Beginning of the log line of a server that runs without the middleware."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of the middleware."""

    reasoning_content: bool = False
    """Whether answers carry their reasoning under its old name too."""
    settle_seconds: float = 10.0
    """How long new requests may come after the pod began to end: until every proxy knows that."""
    drain_seconds: float = 120.0
    """How long requests may take to finish after that."""
    stall_seconds: float = 15.0
    """An engine that does not answer for so long hangs: longer than its longest step."""
    folder: str = "/tmp"
    """Where hook and server meet: a folder of the pod's own."""
    verify: Verify | None = None
    """None: a server is ready as soon as it listens."""

    def as_text(self) -> str:
        """As `from_text` reads it."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Config:
        """The other way round; unknown keys are dropped. Raises ValueError."""
        given = json.loads(text or "{}")
        verify = given.pop("verify", None)
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in given.items() if key in known}
        return cls(**values, verify=None if verify is None else Verify.of(verify))

"""What the operator and a server that measures itself say to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from qwen3_in_engine.server.contract import BENCHMARK_VARIABLE

VARIABLE = BENCHMARK_VARIABLE
"""Environment variable with the benchmark, as JSON."""
LINE = "capacity"
"""First word of a log line, after `qwen3: `, with the result: JSON with the names of `Result`."""
FAILURE = "failure"
MEASURES = "measures its capacity"
"""Words of the line with which it begins."""
MOST_STEPS = 24
LONGEST_WORDS = 300
MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is to be measured."""

    key: str
    """Of all that the operator knows to decide about the result: who finds it with a result does not measure."""
    file: str
    """Where the results of servers before are mounted, once there is one."""
    model: str
    """Folder of the checkpoint, for its tokenizer."""
    name: str
    """The model's name at the server."""
    input_tokens: int
    output_tokens: int
    ttft_milliseconds: int
    """The time to the first token that nineteen of twenty requests must not exceed."""
    max_seconds: int
    """All of it together."""
    most: int
    """Requests of one batch, by the command line; the engine knows better."""

    def as_text(self) -> str:
        """As `from_text` reads it."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Benchmark:
        """The other way round; unknown keys are dropped. Raises ValueError."""
        given = json.loads(text)
        try:
            return cls(**{f.name: given[f.name] for f in fields(cls)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no benchmark: {error!r}") from error


@dataclass(frozen=True)
class Step:
    """What was measured with so many requests at the same time."""

    concurrency: int
    tokens_per_second: int
    """Of answers, all requests together."""
    ttft_milliseconds: int
    """Time to the first token, 95th percentile."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one server found out about itself."""

    key: str
    gpu: str
    """As vLLM calls it; empty where it does not say."""
    at: str
    """When, RFC 3339."""
    input_tokens: int
    output_tokens: int
    target_milliseconds: int
    seconds: int
    """How long it took."""
    ended_by: str
    """`target`: more would be too slow. `batch`: more would not fit the batch. `time`: there was no more of it.
    `failure`: the client failed."""
    steps: tuple[Step, ...] = ()
    error: str = ""
    """What failed."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in the log and in the ConfigMap."""
        said = {_camel(f.name): getattr(self, f.name) for f in fields(self) if f.name != "steps"}
        return said | {"steps": [[s.concurrency, s.tokens_per_second, s.ttft_milliseconds] for s in self.steps]}


def knows(file_text: bytes, key: str, gpu: str) -> bool:
    """Whether the mounted results have one for this key and GPU."""
    try:
        results = json.loads(file_text)["results"]
        return any(it.get("key") == key and it.get("gpu") == gpu for it in results if isinstance(it, Mapping))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)

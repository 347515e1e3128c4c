"""What the operator and the runner in the pod say to each other: the configuration and the exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from qwen3_in_engine.verify.wanted import Verify

SUCCESS = 0
AGAIN = 1
"""Another pod may do better: the engine died, a GPU was lost, the process got SIGTERM."""
BAD_ARGUMENTS = 2
"""vLLM refuses its arguments (argparse's own code)."""
BAD_INPUT = 10
BAD_OUTPUT = 11
WRONG_ANSWERS = 12
"""The engine does not answer as its model."""
PERMANENT = (BAD_ARGUMENTS, BAD_INPUT, BAD_OUTPUT, WRONG_ANSWERS)
"""Exit codes that no other pod can mend, of this shard or another."""

PROGRESS_SECONDS = 5.0
"""Least time between two progress lines in the log."""
METRICS_PORT = 8000
"""Where a shard shows its metrics, and vLLM's."""
DELIVER = "deliver"
"""Second argument of a runner that only delivers what is finished; then the code of the other lines' errors, and why
they have none, for a person."""
EXPIRED, DIED, GIVEN_UP = "batch_expired", "engine_died", "shard_given_up"
"""Codes of lines that were not answered: no time was left, the engine died of them, their shard was given up."""
KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable with the key of the server that is asked; vLLM's own reads the same."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of a runner, as JSON beside its source. Paths are inside the container."""

    namespace: str
    name: str
    """Namespace and name of the Qwen3Batch: who owns the output."""
    fingerprint: str
    """Of what decides the answers (model, sampling, template): answers of another fingerprint are never continued."""
    input: str
    output: str
    text: bool = False
    """Each line of the input is a prompt as it stands, not JSON."""
    chat: bool = True
    """Plain prompts are a user's message for the chat template; otherwise they are completed as they are."""
    shards: int = 1
    include_prompt: bool = False
    thinks: bool | None = None
    """Whether a chat thinks where its line does not say; None: the template's own default, and no kwarg is given."""
    thinks_by_default: bool = False
    """What the template's own default is: it chooses the sampling defaults."""
    sampling_thinking: Mapping[str, Any] = field(default_factory=dict)
    sampling_plain: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a request -> defaults of lines that think, and of those that do not."""
    seed: int | None = None
    """Line i (from 0) is sampled with seed + i: the same whatever the shards, and another for a repeated prompt."""
    task: str = "generate"
    """What the model is for: generate, embed or rerank."""
    vocabulary: int | None = None
    """Tokens that the model knows; None: not known."""
    models: tuple[str, ...] = ()
    """Names that a line may ask for; the first is what the server is asked for where a line names none."""
    any_model: bool = False
    """Lines that name another model are answered too, under the name of the one that answers."""
    engine: tuple[str, ...] = ()
    """`vllm serve PATH ...`: the engine of this pod; empty where a server that runs is asked."""
    url: str = ""
    """Base URL of a server that runs."""
    concurrency: int | None = None
    """Most lines that are asked at the same time. None: so many that an engine of this pod never waits."""
    startup_seconds: int = 3600
    """Longest start of the engine that is no failure."""
    stall_seconds: int = 600
    """An engine that owes answers and makes no token for so long hangs; a server may be out of reach for so long."""
    verify: Verify | None = None
    """What the engine of this pod must be seen to do before its first line; None: it is not asked."""

    def as_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Config:
        """The other way round; unknown keys are dropped."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {
            k: tuple(v) if k in ("engine", "models") else v for k, v in values.items() if k in known
        }
        if given.get("verify") is not None:
            given["verify"] = Verify.of(given["verify"])
        return cls(**given)


class Stop(Exception):
    """The shard cannot go on: exit code, reason in one word, message for a person."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

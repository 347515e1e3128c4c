"""What a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from qwen3_in_engine.verify.wanted import Verify
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.fit import FitReport
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.plan.lora import Adapter

Source = Literal["spec", "catalogue", "checkpoint", "gpu", "settings", "operator"]


@dataclass(frozen=True)
class Weights:
    """Where a checkpoint is: a claim, the folder in it, and once it is downloaded what its config.json says."""

    claim: str
    path: str
    facts: ModelFacts | None = None
    claim_is_others: bool = False
    """A claim that was there before: nothing of it is changed."""
    adapters: tuple[Adapter, ...] = ()
    """The LoRA adapters beside it whose copies are verified."""
    lora: Lora | None = None
    """Room for adapters that the servers have, or are to have."""
    commit: str = ""
    """Commit of the verified copy, where it is known."""


@dataclass(frozen=True)
class Value:
    """One resolved value: what, why, and who said so. `field` is its name in the spec where it has one."""

    field: str
    value: str
    reason: str
    source: Source
    next: str = ""
    """What would be resolved now, where servers keep another value because their spec has not changed."""

    def as_status(self) -> dict[str, str]:
        """As an entry of `status.plan`."""
        entry = {"field": self.field, "value": self.value[:1024], "reason": self.reason[:1024]}
        return entry | ({"next": self.next[:1024]} if self.next else {})


def _if_another(now: str | None, made: str) -> str:
    return "" if now is None or now == made else now


@dataclass(frozen=True)
class Fit:
    """Verdict of the preflight, as the condition Fits. `blocks`: no server is made."""

    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str
    blocks: bool = False
    report: FitReport | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run. Sizes are Kubernetes quantities, times seconds."""

    image: str
    version: EngineVersion
    claim: str
    """PersistentVolumeClaim with the weights."""
    claim_is_others: bool = False
    command: tuple[str, ...]
    """argv of the server: `vllm serve PATH ...`."""
    max_model_len: int
    gpus: int
    """GPUs of one server."""
    cpu: str
    memory: str
    shm_size: str
    startup_seconds: int
    """Longest start that is no failure."""
    drain_seconds: int
    server: str = ""
    """Configuration of the middleware in the server, as text; empty: it has none."""
    benchmark: str = ""
    """What the server measures before it is ready, as text; empty: nothing."""
    verify: Verify | None = None
    """What the engine must be seen to do before it is asked by others; None: nothing."""
    values: tuple[Value, ...]
    fit: Fit = Fit("Unknown", Reason.NOT_CHECKED, "not checked")
    problems: tuple[Problem, ...] = ()
    """What cannot work: nothing is made while there is one."""
    warnings: tuple[Problem, ...] = ()
    """What works, but not as its author may think."""
    pod_annotations: dict[str, str] = field(default_factory=dict)

    @property
    def servable(self) -> bool:
        """Whether servers may be made from this plan."""
        return not self.problems and not self.fit.blocks

    def as_made(self, made: Plan, now: Plan) -> Plan:
        """The values that servers were `made` with, each with what it would be `now`, judged as this plan is.

        What this operator would refuse was accepted when the servers were made: they go on, with a warning.
        """
        other = {value.field: value.value for value in now.values}
        values = tuple(replace(value, next=_if_another(other.get(value.field), value.value)) for value in made.values)
        refused = tuple(replace(problem, severity="warning") for problem in self.problems)
        return replace(made, values=values, fit=self.fit, warnings=(*self.warnings, *refused))

    def seen_to_fit(self) -> Plan:
        """The same plan where a server of it is up: what was seen counts more than what was predicted."""
        if not self.fit.blocks:
            return self
        words = f"it is up, although the prediction was: {self.fit.message}"
        return replace(
            self, fit=replace(self.fit, status="True", reason=Reason.FITS_AS_SEEN, message=words, blocks=False)
        )

    def engine_status(self) -> dict[str, Any]:
        """`status.engine`."""
        return {
            "version": str(self.version),
            "image": self.image,
            "maxModelLen": self.max_model_len,
            "command": list(self.command),
        }

"""`qwen3-operator explain`: what a Qwen3Deployment comes to, and whether it fits, without a cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import ConfigError, ModelFacts
from qwen3_operator.commands.read import BadInput
from qwen3_operator.engine.fit import FitReport
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.naming import claim_name, model_name, model_path
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.quantity import quantity
from qwen3_operator.settings import Settings

FITS, DOES_NOT_FIT, BAD_INPUT = 0, 1, 2
BAR_WIDTH = 60


@dataclass(frozen=True)
class Hardware:
    """What the command line says about GPUs and engine. Empty: not said."""

    gpu: str = ""
    """Name of a GPU, like H100-80GB."""
    gpu_memory: str = ""
    """What torch sees of one GPU, like 79.18Gi."""
    gpus_per_node: int = 8

    def gpus(self) -> list[Gpu] | None:
        """The GPU, or None where nothing was said. Raises BadInput."""
        if self.gpu_memory:
            try:
                return [Gpu.exact(float(quantity(self.gpu_memory)) / 2**30, self.gpu)]
            except ValueError as error:
                raise BadInput(f"--gpu-memory: {error}") from error
        if not self.gpu:
            return None
        if (known := Gpu.named(self.gpu)) is None:
            raise BadInput(f"--gpu: {self.gpu} is not known: give --gpu-memory, like 79.18Gi")
        return [known]


def read_facts(path: str | None) -> ModelFacts | None:
    """Facts from a config.json. Raises BadInput."""
    if not path:
        return None
    try:
        return ModelFacts.from_config(json.loads(Path(path).read_text(encoding="utf-8")), None)
    except (OSError, ValueError, ConfigError) as error:
        raise BadInput(f"{path}: {error}") from error


def plan_offline(
    spec: Qwen3DeploymentSpec, settings: Settings, hardware: Hardware, facts: ModelFacts | None, version: str | None
) -> Plan:
    """The plan as the operator would make it on that hardware; `version` overrides vLLM's."""
    if version:
        spec = spec.model_copy(update={"engine": spec.engine.model_copy(update={"version": version})})
    weights = Weights(claim_name(model_name(spec.model), spec.model), model_path(spec.model), facts)
    return make_plan(weights, spec, settings, gpus=hardware.gpus(), gpus_per_node=hardware.gpus_per_node)


def exit_code(plan: Plan) -> int:
    """0: servable. 1: does not fit. 2: the spec cannot work."""
    if plan.problems:
        return BAD_INPUT
    verdict = plan.fit.report.verdict if plan.fit.report else "Unknown"
    return DOES_NOT_FIT if verdict == "DoesNotFit" else FITS


def as_data(plan: Plan) -> dict[str, Any]:
    """The documented JSON of `explain`."""
    report = plan.fit.report
    memory = report.memory if report else None
    return {
        "plan": {v.field: {"value": v.value, "reason": v.reason, "source": v.source} for v in plan.values},
        "command": list(plan.command),
        "preflight": {
            "verdict": report.verdict if report else "Unknown",
            "message": plan.fit.message,
            "weightsGiB": _round(memory.weights_gib if memory else None),
            "overheadGiB": _round(memory.overhead_gib if memory else None),
            "kvCacheGiB": _round(memory.kv_cache_gib if memory else None),
            "kvTokens": memory.kv_tokens if memory else None,
            "maxModelLenThatFits": report.max_model_len_that_fits if report else None,
            "smallestTensorParallelSize": report.smallest_tensor_parallel_size if report else None,
        },
        "problems": [
            {"reason": p.reason, "message": p.message, "field": p.field, "severity": p.severity}
            for p in (*plan.problems, *plan.warnings)
        ],
    }


def print_plan(console: Console, name: str, plan: Plan) -> None:
    """The plan for a person: values with reasons, the command, the memory sum as a bar, the verdict."""
    table = Table(title=f"Qwen3Deployment {name}", title_justify="left", show_lines=False)
    for column in ("field", "value", "why"):
        table.add_column(column, overflow="fold")
    for value in plan.values:
        table.add_row(value.field, escape(value.value), escape(value.reason))
    console.print(table)
    console.print(Text(" ".join(plan.command), style="dim"))
    if plan.fit.report and plan.fit.report.memory:
        console.print(_bar(plan.fit.report))
    console.print(Text(f"{plan.fit.reason}: {plan.fit.message}", style=_STYLES.get(plan.fit.reason, "")))
    for problem in (*plan.problems, *plan.warnings):
        style = "bold red" if problem.severity == "error" else "yellow"
        console.print(Text(f"{problem.field or problem.reason}: {problem.message}", style=style))


_STYLES = {"Fits": "green", "Tight": "yellow", "FitsSomeNodes": "yellow", "DoesNotFit": "bold red"}


def _bar(report: FitReport) -> Text:
    memory = report.memory
    assert memory is not None
    total = max(memory.requested_gib, memory.weights_gib + memory.overhead_gib)
    needed = report.needed_kv_gib or 0.0
    left = max(memory.kv_cache_gib, 0.0)
    parts = [
        ("█", "blue", memory.weights_gib, "weights"),
        ("▓", "magenta", memory.overhead_gib, "overhead"),
        ("▒", "green", min(needed, left), "one full sequence"),
        ("░", "dim", max(left - needed, 0.0), "more KV cache"),
    ]
    text = Text()
    for character, style, gib, _ in parts:
        text.append(character * round(BAR_WIDTH * gib / total), style=style)
    text.append(f"  {memory.requested_gib:.1f} GiB\n")
    for character, style, gib, label in parts:
        text.append(character, style=style)
        text.append(f" {label} {gib:.2f} GiB   ")
    return text


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

"""`qwen3-operator explain`: what a Qwen3Deployment or a Qwen3Batch comes to, and whether it fits, without a cluster."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qwen3_operator.engine.fit import FitReport
from qwen3_operator.plan import Plan

BAR_WIDTH = 60


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


def print_plan(console: Console, title: str, plan: Plan) -> None:
    """The plan for a person, under `title`: values with reasons, the command, the memory sum as a bar, the verdict."""
    table = Table(title=title, title_justify="left", show_lines=False)
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

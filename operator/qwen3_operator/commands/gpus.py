"""`qwen3-operator explain --gpus`: which GPUs serve a model, how many of each, and how long a sequence may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.engine import Engine
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ModelFacts, resolve
from qwen3_operator.commands.read import BadInput
from qwen3_operator.engine.fit import Verdict
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.length import DEFAULT_LENGTH
from qwen3_operator.naming import claim_name, model_name, model_path
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.settings import Settings

_SIZES = (1, 2, 4, 8, 16)
_FEWEST_SEQUENCES = 16


@dataclass(frozen=True)
class Row:
    """A number of equal GPUs of one node, and what they can do."""

    gpu: Gpu
    gpus: int
    verdict: str
    """Of the length that is asked for: Fits, Tight, DoesNotFit, or the reason why the card cannot run the model."""
    kv_tokens: int | None
    """Tokens of all sequences together that the KV cache is predicted to hold."""
    longest: int | None
    """Longest sequence that surely fits, up to the model's own length."""
    utilization: int | None = None
    """gpuMemoryUtilizationPercent that it needs, where vLLM's own asks for more than is free at the start."""
    sequences: int | None = None
    """maxNumSeqs that it needs, where the states of vLLM's own number take more than there is."""

    @property
    def serves(self) -> bool:
        """Whether a server may be made."""
        return self.verdict in ("Fits", "Tight")


@dataclass(frozen=True)
class Choice:
    """The rows for one server, smallest card first."""

    title: str
    length: int
    own_length: int
    rows: tuple[Row, ...]


def spec_of_model(model_id: str) -> Qwen3DeploymentSpec:
    """A server of that model with nothing else said. Raises BadInput."""
    try:
        return Qwen3DeploymentSpec.model_validate({"model": {"id": model_id}})
    except ValidationError as error:
        raise BadInput(f"--model: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def choose(
    spec: Qwen3DeploymentSpec, settings: Settings, facts: ModelFacts | None, cards: Iterable[Gpu], gpus_per_node: int
) -> Choice:
    """``facts``: of a config.json, where the catalogue lacks the model. Raises BadInput where none is given.

    Of each card are shown the fewest GPUs that serve the length, and more while a longer sequence fits them; where none
    serve it, the most.
    """
    entry = resolve(spec.source.id, facts)
    if entry is None or entry.facts is None:
        raise BadInput(f"{spec.source.id}: the catalogue does not know its shape: give its config.json by --config")
    own = max(entry.facts.max_position_embeddings, spec.engine.max_model_len or 0)
    length = spec.engine.max_model_len or min(own, DEFAULT_LENGTH)
    rows: list[Row] = []
    version = ""
    for card in sorted(cards, key=lambda gpu: (gpu.memory_gib, gpu.name)):
        found = []
        for size, engine, plan in _plans(spec, settings, facts, card, length, gpus_per_node):
            found.append(_row(card, size, plan, own, _changed(spec.engine, engine)))
            version = str(plan.version)
            if (found[-1].longest or 0) >= own:
                break
        rows += [row for row in found if row.serves] or found[-1:]
    title = f"{spec.source.id} on vLLM {version}: which GPUs serve maxModelLen {length} (its own: {own})"
    return Choice(title, length, own, tuple(rows))


def _plans(
    spec: Qwen3DeploymentSpec,
    settings: Settings,
    facts: ModelFacts | None,
    card: Gpu,
    length: int,
    gpus_per_node: int,
) -> Iterator[tuple[int, Engine, Plan]]:
    """(GPUs, the engine with what it needs, its plan) for every split that vLLM accepts, ascending."""
    source = spec.source
    weights = Weights(claim_name(model_name(source), source), model_path(source), facts)
    stages = spec.engine.pipeline_parallel_size

    def planned(engine: Engine) -> Plan:
        tried = spec.model_copy(update={"engine": engine, "preflight": "Enforce"})
        return make_plan(weights, tried, settings, gpus=[card], gpus_per_node=gpus_per_node)

    for size in _SIZES:
        if size * stages > gpus_per_node:
            return
        engine = spec.engine.model_copy(update={"tensor_parallel_size": size, "max_model_len": length})
        plan = planned(engine)
        if any(problem.reason == Reason.ILLEGAL_PARALLELISM for problem in plan.problems):
            continue
        for name, needed in (
            ("gpu_memory_utilization_percent", _lower_utilization),
            ("max_num_seqs", _fewer_sequences),
        ):
            if (value := needed(engine, plan)) is not None:
                engine = engine.model_copy(update={name: value})
                plan = planned(engine)
        yield size * stages, engine, plan


def _changed(said: Engine, needed: Engine) -> dict[str, int | None]:
    """What of a row's fields was not said and is needed."""
    both = {"utilization": "gpu_memory_utilization_percent", "sequences": "max_num_seqs"}
    return {row: getattr(needed, field) for row, field in both.items() if getattr(said, field) is None}


def _fewer_sequences(engine: Engine, plan: Plan) -> int | None:
    """A power of two, because nobody asks for 637. Too few for a server of many users is no offer."""
    memory = plan.fit.report.memory if plan.fit.report else None
    most = memory.most_sequences if memory else None
    if most is None or engine.max_num_seqs is not None or most < _FEWEST_SEQUENCES:
        return None
    return 1 << (most.bit_length() - 1)


def _lower_utilization(engine: Engine, plan: Plan) -> int | None:
    """What to ask for where vLLM's own choice is more than is free at the start."""
    memory = plan.fit.report.memory if plan.fit.report else None
    if memory is None or engine.gpu_memory_utilization_percent or memory.requested_gib <= memory.free_at_start_gib:
        return None
    return max(1, int(100 * memory.free_at_start_gib / memory.gpu_gib))


def _row(card: Gpu, gpus: int, plan: Plan, own: int, changed: dict[str, int | None]) -> Row:
    if plan.problems:
        return Row(card, gpus, plan.problems[0].reason, None, None)
    report = plan.fit.report
    assert report is not None and report.memory is not None and report.max_model_len_that_fits is not None
    longest = min(report.max_model_len_that_fits, own)
    return Row(card, gpus, report.verdict, report.memory.kv_tokens, longest, **changed)


def as_data(choice: Choice) -> dict[str, Any]:
    """The documented JSON of `explain --gpus`."""
    return {
        "maxModelLen": choice.length,
        "gpus": [
            {
                "gpu": row.gpu.name,
                "memoryGiB": round(row.gpu.memory_gib, 2),
                "count": row.gpus,
                "verdict": row.verdict,
                "kvTokens": row.kv_tokens,
                "maxModelLenThatFits": row.longest,
                "gpuMemoryUtilizationPercent": row.utilization,
                "maxNumSeqs": row.sequences,
            }
            for row in choice.rows
        ],
    }


def print_choice(console: Console, choice: Choice) -> None:
    """The table for a person. Cards that come to the same share a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GPUs of one server", no_wrap=True)
    for heading in ("GiB each", "KV tokens", "surely up to"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", no_wrap=True)
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in choice.rows:
        numbers = (f"{number:,}" if number and row.serves else "" for number in (row.kv_tokens, row.longest))
        words = row.verdict if row.verdict in get_args(Verdict) else "cannot run it"
        if row.utilization and row.serves:
            words += f" at {row.utilization} %"
        if row.sequences and row.serves:
            words += f" with {row.sequences} sequences"
        lines.setdefault((str(row.gpus), f"{row.gpu.memory_gib:.1f}", *numbers, words), []).append(row.gpu.name)
    for (gpus, *cells, verdict), names in lines.items():
        style = _STYLES.get(verdict.split()[0], "dim")
        table.add_row(f"{gpus} × {', '.join(names)}", *cells, Text(verdict, style=style))
    console.print(choice.title, soft_wrap=True, highlight=False, style="bold")
    console.print(table)
    if any(row.utilization and row.serves for row in choice.rows):
        console.print("at N %: with gpuMemoryUtilizationPercent N", highlight=False, style="dim")
    if any(row.sequences and row.serves for row in choice.rows):
        words = "with N sequences: with maxNumSeqs N, because each has a state of linear attention"
        console.print(words, highlight=False, style="dim")


_STYLES = {"Fits": "green", "Tight": "yellow"}

"""LoRA adapters of a server: which it is to have, for what it has to make room, and what stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwen3_in_engine.server.contract import ADAPTERS_VARIABLE
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.engine import Engine
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import AdapterFacts, ModelFacts, names_model, other_shape
from qwen3_operator.catalog.adapter import MOST_RANK
from qwen3_operator.engine.lora import FLAGS, Lora, rank_for
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.plan.auth import several_processes
from qwen3_operator.plan.middleware import SINCE

FIELD = "spec.engine.loraAdapters"
LORA_FLAGS = dict.fromkeys(FLAGS, f"use {FIELD}, spec.engine.maxLoraRank and spec.engine.maxLoras")
"""Flags that are the operator's once a spec has adapters."""
LEAST_RANK = 16
"""vLLM's own default: most adapters have no more, and another one needs no restart then."""
TOGETHER = 4
"""Adapters of one step where the spec names no number. vLLM's own is 1: requests for others would wait their turn."""
_VARIABLES = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "whoever may ask the server could load any adapter, and take these away",
    "VLLM_USE_RUST_FRONTEND": "that front end runs no middleware, which loads the adapters",
    ADAPTERS_VARIABLE: "it tells the server where the list of its adapters is",
}


@dataclass(frozen=True)
class Adapter:
    """A verified copy of one of the spec's adapters."""

    name: str
    path: str
    """Folder inside the volume of the model."""
    facts: AdapterFacts


def lora_for(engine: Engine, adapters: Sequence[Adapter], made: Lora | None) -> Lora | None:
    """The room that servers of this spec have for adapters; None: they have none at all.

    `made`: that of the servers that there are. As long as its rank suffices it stays: adapters then come and go
    without a restart.
    """
    if not engine.lora_adapters and engine.max_lora_rank is None:
        return None
    needed = max((adapter.facts.rank for adapter in adapters), default=0)
    suffices = made is not None and made.max_rank >= needed
    rank = engine.max_lora_rank or (made.max_rank if made and suffices else rank_for(max(needed, LEAST_RANK)))
    return Lora(rank, engine.max_loras or TOGETHER)


def check_adapters(
    spec: Qwen3DeploymentSpec, adapters: Sequence[Adapter], facts: ModelFacts | None
) -> dict[str, list[Problem]]:
    """What is wrong with each adapter, by its name. `facts`: of the model that they are to be served with."""
    most, found = spec.engine.max_lora_rank or MOST_RANK, {}
    for adapter in adapters:
        found[adapter.name] = list(_check(adapter, spec.source.id, facts, most))
    return found


def _check(adapter: Adapter, model_id: str, facts: ModelFacts | None, most: int) -> Iterator[Problem]:
    it, name = adapter.facts, f"adapter {adapter.name}"
    if it.faults:
        words = f"vLLM does not serve {name}: {', '.join(it.faults)}"
        yield Problem(Reason.ADAPTER_UNSUITABLE, words, FIELD)
    if not it.rank:
        yield Problem(Reason.ADAPTER_UNSUITABLE, f"adapter_config.json of {name} tells no rank (r)", FIELD)
    if it.rank > most:
        remedy = "raise spec.engine.maxLoraRank" if most < MOST_RANK else "vLLM takes no larger one"
        yield Problem(Reason.ADAPTER_UNSUITABLE, f"{name} has rank {it.rank}, more than {most}: {remedy}", FIELD)
    made_for = f"it was made for {it.base}, as adapter_config.json says" if it.base else "it does not say for which"
    if facts is not None and (shape := other_shape(it, facts)):
        words = f"{name} is for another model than {model_id}: {shape}; {made_for}"
        yield Problem(Reason.ADAPTER_UNSUITABLE, words, FIELD)
    elif (named := names_model(it.base, model_id)) is False:
        words = f"{name} is for another model than {model_id}: {made_for}"
        yield Problem(Reason.ADAPTER_UNSUITABLE, words, FIELD)
    elif named is None:
        words = f"whether {name} was made for {model_id} is known by its shape alone: {made_for}"
        yield Problem(Reason.ADAPTER_DOUBTFUL, words, FIELD, "warning")


def check_lora(spec: Qwen3DeploymentSpec, names: Sequence[str], version: EngineVersion) -> Iterator[Problem]:
    """What of the spec keeps servers from having adapters. `names`: by which the model itself is asked for."""
    adapters = spec.engine.lora_adapters
    if not adapters:
        return
    if version < SINCE:
        words = f"vLLM {version} does not run the middleware that loads adapters: use {SINCE} or newer"
        yield Problem(Reason.UNSUPPORTED_BY_ENGINE, words, FIELD)
    for name in sorted({adapter.name for adapter in adapters} & set(names)):
        words = f"{name} is the name of an adapter and of the model: give each its own (spec.engine.servedModelNames)"
        yield Problem(Reason.ADAPTERS_EXCLUDED, words, FIELD)
    for variable in spec.engine.env:
        unset = variable.value in ("", "0") and variable.name != ADAPTERS_VARIABLE
        if not unset and (why := _VARIABLES.get(variable.name)):
            words = f"{FIELD} and {variable.name} in spec.engine.env exclude each other: {why}"
            yield Problem(Reason.ADAPTERS_EXCLUDED, words, "spec.engine.env")
    if flag := several_processes(spec, version):
        words = f"{FIELD} and {flag} exclude each other: vLLM loads adapters with one API server in each pod alone"
        yield Problem(Reason.ADAPTERS_EXCLUDED, words, "spec.engine.extraArgs")

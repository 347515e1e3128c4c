"""Thinking and sampling: what requests get that do not say themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qwen3_operator.api.engine import Engine
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import CatalogEntry
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan.types import Value

FIELD = "spec.engine.thinking"


@dataclass(frozen=True)
class Defaults:
    """Server-wide defaults for requests, as vLLM's flags take them."""

    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    generation_config: dict[str, Any] = field(default_factory=dict)
    values: tuple[Value, ...] = ()
    problems: tuple[Problem, ...] = ()


def request_defaults(engine: Engine, entry: CatalogEntry | None) -> Defaults:
    """Resolve `engine.thinking` and `engine.sampling` for a model; `entry` None: not known before the download."""
    problems = tuple(_unsuitable(engine, entry))
    asked = engine.thinking != "Default"
    # The argument goes only to a template that can be switched. Every other template either always thinks or never.
    kwargs = {"enable_thinking": engine.thinking == "Enabled"} if asked and _switchable(entry) else {}
    values = [Value("thinking", engine.thinking, "set in the spec", "spec")] if asked else []
    if not asked and entry is not None and entry.thinking == "hybrid" and not entry.template_thinks_by_default:
        # vLLM's parser takes an answer without </think> for thoughts, unless this says that there are none.
        kwargs = {"enable_thinking": False}
        reason = "the chat template does not think unless asked, and vLLM's parser has to know that"
        values = [Value("thinking", "Disabled", reason, "catalogue" if entry.known_by == "catalogue" else "checkpoint")]
    sampling, sampling_value = _sampling(engine, entry)
    if sampling_value:
        values.append(sampling_value)
    return Defaults(kwargs, sampling, tuple(values), problems)


def _switchable(entry: CatalogEntry | None) -> bool:
    return entry is None or entry.thinking in ("hybrid", "unknown")


def _unsuitable(engine: Engine, entry: CatalogEntry | None) -> list[Problem]:
    if entry is None or engine.thinking == "Default" or _switchable(entry):
        return []
    if entry.thinking == "thinking" and engine.thinking == "Disabled":
        return [Problem(Reason.THINKING_NOT_SWITCHABLE, f"{entry.id} always thinks: take its Instruct sibling", FIELD)]
    if entry.thinking == "none" and engine.thinking == "Enabled":
        return [Problem(Reason.THINKING_NOT_SWITCHABLE, f"{entry.id} cannot think: take its Thinking sibling", FIELD)]
    return []


def _sampling(engine: Engine, entry: CatalogEntry | None) -> tuple[dict[str, Any], Value | None]:
    if engine.sampling is not None:
        said = engine.sampling.model_dump(exclude_none=True)
        config = {name: float(value) if isinstance(value, str) else value for name, value in said.items()}
        return config, Value("sampling", _words(config), "set in the spec", "spec")
    if entry is not None and entry.thinking == "hybrid" and engine.thinking != "Default":
        thinks = engine.thinking == "Enabled"
        if thinks != entry.thinks_by_default and (advice := entry.sampling(thinking=thinks)):
            config = dict(advice.generation_config())
            mode = "thinking" if thinks else "not thinking"
            reason = f"the authors' advice for {mode}; the checkpoint's own values are for the other mode"
            return config, Value("sampling", _words(config), reason, "catalogue")
    return {}, None


def _words(config: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in config.items())

"""How long a sequence may be: the model's own length, YaRN beyond it, and a default that fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import CatalogEntry, ModelFacts
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion

LENGTH_FIELD = "spec.engine.maxModelLen"

DEFAULT_LENGTH = 8192
"""Where the GPU is not known: fits beside the weights on most cards."""

_SEQUENCES_TO_KEEP = 2
"""A default length leaves room for so many full sequences."""

_ROPE_PARAMETERS_SINCE = EngineVersion.of("0.12.0")
"""From here on the key is rope_parameters (transformers 5); before, rope_scaling."""


@dataclass(frozen=True)
class LengthPlan:
    """The length to serve and what vLLM needs for it."""

    max_model_len: int
    reason: str
    source: Literal["spec", "catalogue", "gpu"] = "spec"
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    """YaRN; empty within the model's own length."""
    max_position: int | None = None
    """Positions after the override, for the memory sum."""
    problems: tuple[Problem, ...] = ()


def resolve_length(
    requested: int | None,
    entry: CatalogEntry,
    facts: ModelFacts | None,
    version: EngineVersion,
    kv_tokens: int | None = None,
    own_way: str = "",
) -> LengthPlan:
    """``requested``: the spec's maxModelLen, tokens. ``kv_tokens``: tokens the KV cache is predicted to hold in all
    (``Memory.kv_tokens``, less a margin), None when the GPU is not known. ``own_way``: what of the spec says how the
    model gets beyond its length; then that is not for the operator to judge."""
    own = facts.max_position_embeddings if facts is not None else entry.native_length
    if requested is None:
        return _default(entry, own, kv_tokens)
    if requested <= own:
        return LengthPlan(requested, f"set in the spec; {entry.id} takes {own} without YaRN")
    if own_way:
        return LengthPlan(requested, f"set in the spec; beyond {own} as {own_way} says", max_position=requested)
    if requested > entry.extended_length:
        return LengthPlan(requested, "set in the spec", problems=(_too_long(requested, entry, own),))
    if facts is None:  # known after the download; the length itself is fine
        return LengthPlan(requested, f"set in the spec; beyond {own} with YaRN")
    return _yarn(requested, entry, facts, version)


def _default(entry: CatalogEntry, own: int, kv_tokens: int | None) -> LengthPlan:
    if kv_tokens is None:
        length = min(own, DEFAULT_LENGTH)
        return LengthPlan(length, f"the GPU's memory is not known, and {length} fits beside most weights", "catalogue")
    roomy = kv_tokens // _SEQUENCES_TO_KEEP
    if roomy >= own:
        return LengthPlan(
            own, f"the model's own length; the KV cache holds {kv_tokens / own:.0f} such sequences", "catalogue"
        )
    length = max(1024, 1 << (max(roomy, 1).bit_length() - 1))
    return LengthPlan(
        min(length, own), f"the KV cache holds {kv_tokens} tokens: room for {_SEQUENCES_TO_KEEP} full sequences", "gpu"
    )


def _too_long(requested: int, entry: CatalogEntry, own: int) -> Problem:
    most = max(entry.extended_length, own)
    how = f"{own}, or {most} with YaRN" if most > own else f"{own}"
    return Problem(
        Reason.MAX_MODEL_LEN_TOO_LONG,
        f"maxModelLen {requested} is beyond what {entry.id} is known to do: at most {how}; if you know better, say how"
        " in spec.engine.hfOverrides (rope_parameters and max_position_embeddings)",
        LENGTH_FIELD,
    )


def _yarn(requested: int, entry: CatalogEntry, facts: ModelFacts, version: EngineVersion) -> LengthPlan:
    """YaRN with the smallest whole factor: it is static in vLLM and costs quality on short prompts.

    max_position_embeddings must be said too: since 0.30 the factor no longer extends the length. rope_theta must be
    repeated, because the override replaces the whole dict and the MoE models would fall back to 10000.
    """
    original = entry.native_length
    factor = math.ceil(requested / original)
    positions = min(original * factor, max(entry.extended_length, requested))
    rope: dict[str, Any] = {
        key: value for key, value in facts.rope_parameters.items() if key not in ("rope_type", "type", "factor")
    }
    if facts.rope_theta is not None:
        rope["rope_theta"] = int(facts.rope_theta) if facts.rope_theta.is_integer() else facts.rope_theta
    rope |= {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": original}
    key = "rope_parameters" if version >= _ROPE_PARAMETERS_SINCE else "rope_scaling"
    override: dict[str, Any] = {"max_position_embeddings": positions, key: rope}
    return LengthPlan(
        requested,
        f"set in the spec; beyond {facts.max_position_embeddings} with YaRN, factor {factor} on {original}",
        hf_overrides={"text_config": override} if facts.text_config_nested else override,
        max_position=positions,
    )

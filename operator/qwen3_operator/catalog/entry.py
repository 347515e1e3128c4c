"""What is known about a Qwen3 checkpoint by its ModelScope id. The data stand in qwen3.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from qwen3_operator.catalog.facts import ModelFacts

Thinking = Literal["hybrid", "thinking", "none", "unknown"]
Task = Literal["generate", "embed", "rerank"]

GIB = 1 << 30
BYTES_PER_PARAMETER = 2  # bfloat16


class Sampling(BaseModel):
    """Sampling parameters that the model's authors recommend; None: not recommended, so not set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None

    def generation_config(self) -> dict[str, float | int]:
        """What vLLM takes as server-wide defaults (`--override-generation-config`): not presence_penalty."""
        return self.model_dump(exclude_none=True, exclude={"presence_penalty"})


class CatalogEntry(BaseModel):
    """How one checkpoint is served, and what it weighs. Lengths are tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    known: bool = True
    """False: not in the catalogue; derived from the name and the config.json."""
    group: str
    task: Task = "generate"
    thinking: Thinking
    template_thinks_by_default: bool = True
    """False: a hybrid model whose chat template does not think unless asked."""
    native_length: int
    """Length the model was trained for."""
    extended_length: int
    """Length it reaches with YaRN; equal to native_length where YaRN is not supported."""
    floor_version: str
    """Oldest vLLM release that serves it."""
    reasoning_parsers: Mapping[str, str] = Field(default_factory=dict)
    """First vLLM release -> parser; empty: must not have one."""
    tool_call_parsers: Mapping[str, str] = Field(default_factory=dict)
    mtp_methods: Mapping[str, str] = Field(default_factory=dict)
    """First vLLM release -> speculative decoding method of the multi-token-prediction layers."""
    sampling_thinking: Sampling | None = None
    sampling_non_thinking: Sampling | None = None
    hf_overrides: Mapping[str, Any] = Field(default_factory=dict)
    facts: ModelFacts | None = None
    """None: the architecture numbers are not known before the download."""
    weights_bytes: int | None = None
    """Bytes of the weight files on disk."""
    known_by: Literal["catalogue", "template"] = "catalogue"
    """Who says whether it thinks, and how it calls tools: the catalogue, or the checkpoint's own chat template."""
    source: tuple[str, ...] = ()
    """Where the row comes from, in words."""

    def sampling(self, *, thinking: bool) -> Sampling | None:
        """The recommended sampling for a server whose requests think, or do not, by default."""
        return self.sampling_thinking if thinking else self.sampling_non_thinking

    @property
    def thinks_by_default(self) -> bool:
        """True when a request that says nothing gets an answer with reasoning."""
        return self.thinking == "thinking" or (self.thinking == "hybrid" and self.template_thinks_by_default)


def lookup(model_id: str) -> CatalogEntry | None:
    """The catalogue's entry for a ModelScope id (``owner/name``, case-sensitive), or None."""
    return _entries().get(model_id)


def known_ids() -> tuple[str, ...]:
    """All ids of the catalogue, in its order."""
    return tuple(_entries())


def suggest(model_id: str) -> str | None:
    """The catalogue's id that was probably meant, for an id that is not in it: other case, a typo, a missing owner."""
    if model_id in _entries():
        return None
    wanted = model_id.lower()
    by_lower = {known.lower(): known for known in _entries()}
    candidates = [wanted, f"qwen/{wanted.rsplit('/', 1)[-1]}"]
    for candidate in candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    close = difflib.get_close_matches(candidates[0] if "/" in wanted else candidates[1], by_lower, n=1, cutoff=0.85)
    return by_lower[close[0]] if close else None


def not_served_reason(model_id: str) -> str | None:
    """Why vLLM cannot serve this checkpoint of the Qwen3 family, or None."""
    name = model_id.rsplit("/", 1)[-1]
    reasons: dict[str, str] = catalogue_data().get("not_served", {})
    return next((reason for prefix, reason in reasons.items() if name.startswith(prefix)), None)


@cache
def catalogue_data() -> dict[str, Any]:
    """qwen3.yaml."""
    text = resources.files("qwen3_operator.catalog").joinpath("qwen3.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


@cache
def _entries() -> dict[str, CatalogEntry]:
    entries: dict[str, CatalogEntry] = {}
    for row in catalogue_data()["checkpoints"]:
        owner = row.get("owner", "Qwen")
        entry = _entry(row, f"{owner}/{row['name']}", row.get("quantization"), row.get("gib"), row.get("disk"))
        entries[entry.id] = entry
        for suffix, gib in (row.get("variants") or {}).items():
            variant = _entry(row, f"{entry.id}-{suffix}", suffix, gib, None)
            entries[variant.id] = variant
    return entries


def _entry(
    row: Mapping[str, Any], model_id: str, quantization: str | None, gib: float | None, disk: int | None
) -> CatalogEntry:
    data = catalogue_data()
    group: dict[str, Any] = data["groups"][row["group"]]
    sampling = group.get("sampling", {})
    shape = data["shapes"].get(row.get("shape"))
    weights = disk
    if gib is not None:
        weights = int(gib * GIB)
    elif disk is None and shape is not None and quantization is None:
        weights = shape["parameters"] * BYTES_PER_PARAMETER
    facts = None
    if shape is not None:
        config = dict(shape["config"])
        if quantization is not None:
            config["quantization_config"] = data["quantizations"][quantization]
        facts = ModelFacts.from_config(config, weights)
    return CatalogEntry(
        id=model_id,
        group=row["group"],
        task=group.get("task", "generate"),
        thinking=group["thinking"],
        template_thinks_by_default=group.get("template_default") != "disabled",
        native_length=group["native_length"],
        extended_length=group.get("extended_length", group["native_length"]),
        floor_version=group["floor"],
        reasoning_parsers=group.get("reasoning_parser", {}),
        tool_call_parsers=group["tool_call_parser"],
        mtp_methods=group.get("mtp_method", {}),
        sampling_thinking=_sampling(sampling.get("thinking")),
        sampling_non_thinking=_sampling(sampling.get("non_thinking")),
        hf_overrides=group.get("hf_overrides", {}),
        facts=facts,
        weights_bytes=weights,
        source=tuple(data["sources"][key] for key in dict.fromkeys([*row["source"], *group["source"]])),
    )


def _sampling(values: Mapping[str, Any] | None) -> Sampling | None:
    return Sampling(**values) if values else None

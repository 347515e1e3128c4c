"""Which entry a checkpoint has: the catalogue's, that of the model it is a copy of, or one made from its own files."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from qwen3_operator.catalog.entry import CatalogEntry, Task, Thinking, catalogue_data, known_ids, lookup
from qwen3_operator.catalog.facts import ModelFacts

_SEPARATOR = re.compile(r"[-_.]")
_THINKS: dict[str, Thinking] = {"always": "thinking", "never": "none", "switchable": "hybrid"}
_ANY_RELEASE = "0.8.5"


def resolve(model_id: str, facts: ModelFacts | None = None, task: Task | None = None) -> CatalogEntry | None:
    """The entry of a checkpoint, in the catalogue or not.

    ``facts``: from the downloaded files; they replace the catalogue's, and what the chat template does goes before what
    a name promises. Without facts an id that the catalogue lacks, and that is no quantized copy of one it has, gives
    None: wait for the files. ``task``: what the user says that the model is for.
    """
    entry = lookup(model_id) or _copy_of_known(model_id, facts)
    if entry is None and facts is not None:
        entry = _from_files(model_id, facts)
    if entry is None:
        return None
    if facts is not None:
        completed = _completed(facts, entry)
        entry = entry.model_copy(
            update={"facts": completed, "weights_bytes": facts.weights_bytes or entry.weights_bytes}
        )
        entry = _as_template_says(entry)
    return entry if task is None else for_task(entry, task)


def for_task(entry: CatalogEntry, task: Task) -> CatalogEntry:
    """The same checkpoint, served for what its user says that it is for."""
    if task == entry.task:
        return entry
    update: dict[str, Any] = {"task": task, "hf_overrides": {}}
    if task != "generate":
        update |= {"thinking": "none", "reasoning_parsers": {}, "tool_call_parsers": {}, "mtp_methods": {}}
    architectures = " ".join(entry.facts.architectures) if entry.facts else ""
    if task == "rerank" and "SequenceClassification" not in architectures:
        group = "vl-reranker" if "Qwen3VL" in architectures else "reranker"  # trained as Qwen's own are: by yes and no
        update["hf_overrides"] = catalogue_data()["groups"][group]["hf_overrides"]
    return entry.model_copy(update=update)


def _copy_of_known(model_id: str, facts: ModelFacts | None) -> CatalogEntry | None:
    """The entry of the catalogue's model that this is a copy of, by its name and by its shape where that is known."""
    name = model_id.rsplit("/", 1)[-1]
    original = lookup(f"Qwen/{name}") or _original(name)
    if original is None or not (facts is None or _same_family(original, facts)):
        return None
    update: dict[str, Any] = {"id": model_id, "known": False}
    if original.id.rsplit("/", 1)[-1] != name:  # another quantization: the sizes are its own
        update |= {"facts": None, "weights_bytes": None}
    return original.model_copy(update=update)


def _original(name: str) -> CatalogEntry | None:
    """The catalogue's model with the longest name that `name` begins with, where the rest says how it is stored."""
    lower = name.lower()
    for known in _by_length():
        begin = known.rsplit("/", 1)[-1].lower()
        rest = lower.removeprefix(begin)
        if rest != lower and rest[:1] in "-_" and all(_of_storage(word) for word in _SEPARATOR.split(rest[1:])):
            return lookup(known)
    return None


@cache
def _by_length() -> tuple[str, ...]:
    ours = [model_id for model_id in known_ids() if model_id.startswith("Qwen/")]
    return tuple(sorted(ours, key=len, reverse=True))


def _of_storage(word: str) -> bool:
    return any(re.fullmatch(pattern, word) for pattern in catalogue_data()["words_of_copies"])


def _completed(facts: ModelFacts, entry: CatalogEntry) -> ModelFacts:
    """An older downloader's report left out the vision tower and the MTP layers; they are those of the same shape."""
    if entry.facts is None or not _same_family(entry, facts):
        return facts
    known = {"vision": entry.facts.vision, "mtp_layers": entry.facts.mtp_layers}
    return facts.model_copy(update={name: value for name, value in known.items() if not getattr(facts, name)})


def _same_family(entry: CatalogEntry, facts: ModelFacts) -> bool:
    """A name alone does not make a model: the architecture must agree where both are known."""
    return entry.facts is None or (entry.facts.model_type, entry.facts.num_layers) == (
        facts.model_type,
        facts.num_layers,
    )


def _from_files(model_id: str, facts: ModelFacts) -> CatalogEntry:
    """An entry for a checkpoint that the catalogue does not have: served plainly, by what its own files say."""
    architectures = " ".join(facts.architectures)
    task: Task = "embed" if facts.pooling else "generate"
    if "SequenceClassification" in architectures:
        task = "rerank"
    return CatalogEntry(
        id=model_id,
        known=False,
        group="unknown",
        task=task,
        thinking="unknown",
        native_length=facts.max_position_embeddings,
        extended_length=facts.max_position_embeddings,
        floor_version=next(
            (floor for mark, floor in _ARCHITECTURE_FLOORS.items() if mark in architectures),
            _ANY_RELEASE,
        ),
        facts=facts,
        weights_bytes=facts.weights_bytes,
        source=("config.json of the checkpoint",),
    )


def _as_template_says(entry: CatalogEntry) -> CatalogEntry:
    """What the checkpoint's own chat template does, where somebody has read it.

    A row of the catalogue knows more than the template in one case: a Base model has the template of its Instruct
    sibling, and was never trained to follow it. So do embedders and classifiers.
    """
    template = entry.facts.template if entry.facts else None
    if template is None or entry.task != "generate":
        return entry
    if entry.group != "unknown" and entry.thinking == "none" and not entry.tool_call_parsers:
        return entry
    update: dict[str, Any] = {}
    if template.thinks is not None:
        thinking = _THINKS[template.thinks]
        update = {"thinking": thinking, "template_thinks_by_default": template.by_default}
        if thinking == "none":
            update["reasoning_parsers"] = {}
        elif not entry.reasoning_parsers:
            update["reasoning_parsers"] = catalogue_data()["groups"]["hybrid"]["reasoning_parser"]
    if template.tools is not None and (format_ := _FORMATS[template.tools]) != _format(entry):
        update["tool_call_parsers"] = catalogue_data()["groups"][format_]["tool_call_parser"] if format_ else {}
    return entry.model_copy(update=update | {"known_by": "template"}) if update else entry


_FORMATS = {"json": "hybrid", "xml": "coder", "other": None, "none": None}
"""How tool calls are written -> a group of the catalogue that writes them so."""


def _format(entry: CatalogEntry) -> str | None:
    parsers = " ".join(entry.tool_call_parsers.values())
    return "hybrid" if "hermes" in parsers else "coder" if "qwen3_" in parsers else None


# First of the vLLM releases compared whose model registry names the architecture.
_ARCHITECTURE_FLOORS = {
    "Qwen4Exp": "0.29.0",
    "Qwen3_5": "0.17.0",
    "Qwen3ASR": "0.16.0",
    "Qwen3Omni": "0.11.1",
    "Qwen3VL": "0.11.0",
    "Qwen3Next": "0.10.2",
}

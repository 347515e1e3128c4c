"""What the files beside config.json say, as the downloader wrote it: `status.model.checkpoint` of a Qwen3Model.

The downloader has the files and copies from them, within bounds; what it means is decided here alone.

    quantization   hf_quant_config.json, as it is
    tensors        {first part of the names: {dtype as in safetensors: bytes}} of the files that vLLM loads
    template       what the chat template does: {"thinks": always|never|switchable, "byDefault": bool,
                   "tools": json|xml|other|none}
    modules        classes of modules.json, by their last name: what sentence-transformers would run
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from qwen3_operator.catalog.reading import items, mapping

LARGEST = 2**53
_NOT_LOADED = ("mtp", "talker", "code2wav", "code_predictor")
"""Multi-token prediction is loaded only for speculation, and of Omni vLLM serves the thinker alone."""
_HALF_BYTES = {"F32": 0.5, "F64": 0.25}
"""vLLM loads them in 16 bits."""
_MOSTLY = 0.5


class Template(BaseModel):
    """What a chat template does, whatever the model is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thinks: Literal["always", "never", "switchable"] | None = None
    """None: its answer depends on what nobody here can read."""
    by_default: bool = True
    """Of a switchable one: whether a request that says nothing thinks."""
    tools: Literal["json", "xml", "other", "none"] | None = None
    """How it has tool calls written: JSON or XML inside <tool_call>, or a form of its own; "none": it does not
    show tools to the model. None: not known."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self | None:
        """None where there is no template, or none that anybody could read."""
        found = {
            "thinks": _one_of(record.get("thinks"), "always", "never", "switchable"),
            "by_default": record.get("byDefault") is not False,
            "tools": _one_of(record.get("tools"), "json", "xml", "other", "none"),
        }
        return cls(**found) if record else None


class Tensors(BaseModel):
    """Bytes of the tensors in the files that vLLM loads, by safetensors headers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loaded: int
    """Bytes of what vLLM keeps, a tied lm_head apart: it is stored by some and loaded by none."""
    lm_head: int = 0
    """Bytes of the lm_head among them."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self | None:
        """None where nothing was recorded."""
        parts = {name: _bytes(dtypes) for name, dtypes in list(record.items())[:64] if isinstance(dtypes, Mapping)}
        total = sum(size for name, size in parts.items() if name not in _NOT_LOADED)
        return cls(loaded=total, lm_head=parts.get("lm_head", 0)) if 0 < total < LARGEST else None


def is_pooling(files: Mapping[str, Any]) -> bool:
    """Whether sentence-transformers' modules.json makes one vector of a text."""
    return "Pooling" in items(files, "modules")


def part(files: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What is recorded of one file; empty where nothing is. Raises ConfigError."""
    return mapping(files, name)


def _bytes(dtypes: Mapping[str, Any]) -> int:
    """Bytes of these tensors in memory. float32 is halved only where it is what the model is stored in: beside FP8
    it is a scale, and beside bfloat16 a state, and both stay as they are."""
    sizes = {name: size for name, size in dtypes.items() if isinstance(size, int) and 0 <= size < LARGEST}
    total = sum(sizes.values())
    wide = sum(size for name, size in sizes.items() if name in _HALF_BYTES)
    if wide <= _MOSTLY * total:
        return total
    return round(sum(size * _HALF_BYTES.get(name, 1) for name, size in sizes.items()))


def _one_of(value: Any, *known: str) -> Any:
    return value if value in known else None

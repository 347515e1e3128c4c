"""How the linear layers of a checkpoint are stored: `quantization_config` in the spellings of all who write one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from qwen3_operator.catalog.reading import WIDEST, ConfigError, items, mapping, text, whole

Width = Annotated[int, Field(ge=0, le=WIDEST)]
Word = Annotated[str, StringConstraints(max_length=128)]

MLX = "mlx"
"""Quantized by MLX, whose config names no method: Apple's own layout, which vLLM cannot load."""
_MOST_GROUPS = 16
_FOUR_BITS = ("awq", "gptq", "int4", "nvfp4", "mxfp4", "fp4", "w4a")
_GROUPS_OF = {"nvfp4": 16, "mxfp4": 32}
"""Weights of one scale where the format fixes it (OCP MX formats; NVFP4 of NVIDIA's modelopt)."""


class Quantization(BaseModel):
    """How the linear layers of a checkpoint are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Word
    """vLLM's name: fp8, awq, gptq, compressed-tensors, modelopt, ...; `mlx` for what it cannot load."""
    bits: int = Field(ge=1, le=64)
    """Bits of one weight: 8 or 4; the most where groups of layers differ."""
    group_size: int | None = Field(default=None, ge=1, le=WIDEST)
    """Weights that share a scale along the input dimension (AWQ, GPTQ); None: one scale a channel or tensor."""
    block: tuple[Width, Width] | None = None
    """Block of (output, input) weights that share a scale (Qwen's FP8: 128 x 128)."""

    @property
    def label(self) -> str:
        """Short name for messages: ``fp8``, ``awq 4-bit``."""
        return self.method if self.method == "fp8" else f"{self.method} {self.bits}-bit"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read config.json's ``quantization_config``. Raises ConfigError."""
        method = (text(config, "quant_method") or _unnamed_method(config)).lower()
        method = "compressed-tensors" if method == "compressed_tensors" else method  # vLLM reads both (config/model.py)
        block, groups = items(config, "weight_block_size"), list(_weights_of_groups(config))
        if block and len(block) != 2:
            raise ConfigError(f"config.json: weight_block_size has {len(block)} numbers, not 2")
        return cls(
            method=method,
            bits=_bits(config, groups, method),
            group_size=_group_size(config, groups),
            block=(block[0], block[1]) if block else None,
        )


def read_quantization(
    config: Mapping[str, Any], body: Mapping[str, Any], language: Mapping[str, Any], beside: Mapping[str, Any]
) -> Quantization | None:
    """The quantization of a checkpoint, None for a plain one. Raises ConfigError.

    ``config``: config.json. ``body``, ``language``: the parts of it that hold the served model and its language model.
    ``beside``: hf_quant_config.json, where modelopt up to 0.29 wrote what it did; vLLM asks it where config.json has
    no quantization_config (transformers_utils/config.py).
    """
    for part in (config, body, language):
        for key in ("quantization_config", "compression_config"):
            if found := mapping(part, key):
                return Quantization.from_config(found)
    if found := mapping(beside, "quantization") or beside:
        algorithm = text(found, "quant_algo")
        return Quantization.from_config({**found, "quant_method": "modelopt"}) if algorithm else None
    if found := mapping(config, "quantization"):  # MLX writes this key, and often quantization_config as well
        return Quantization.from_config(found)
    return None


def _weights_of_groups(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """compressed-tensors: how the weights of each group of layers are stored."""
    for group in list(mapping(config, "config_groups").values())[:_MOST_GROUPS]:
        if isinstance(group, Mapping):
            yield mapping(group, "weights")


def _unnamed_method(config: Mapping[str, Any]) -> str:
    """By the keys of those that do not always write quant_method: modelopt, bitsandbytes before it was a key, MLX."""
    if text(config, "quant_algo"):
        return "modelopt"
    return "bitsandbytes" if any(key in config for key in ("load_in_4bit", "load_in_8bit")) else MLX


def _bits(config: Mapping[str, Any], groups: list[Mapping[str, Any]], method: str) -> int:
    if bits := whole(config, "bits") or whole(config, "w_bit"):
        return bits
    if config.get("load_in_4bit") or config.get("_load_in_4bit"):  # bitsandbytes
        return 4
    if bits := max((whole(group, "num_bits") for group in groups), default=0):
        return bits
    return 4 if any(mark in _named(config, method) for mark in _FOUR_BITS) else 8


def _group_size(config: Mapping[str, Any], groups: list[Mapping[str, Any]]) -> int | None:
    """-1 stands for one scale a channel."""
    said = [(config, "group_size"), (config, "q_group_size"), *((group, "group_size") for group in groups)]
    if found := [size for part, key in said if (size := whole(part, key, least=-1)) > 0]:
        return min(found)
    name = _named(config, "")
    return next((size for mark, size in _GROUPS_OF.items() if mark in name), None)


def _named(config: Mapping[str, Any], method: str) -> str:
    return f"{method} {text(config, 'quant_algo')} {text(config, 'format')}".lower()

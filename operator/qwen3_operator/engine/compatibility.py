"""Whether a vLLM release serves a checkpoint at all, and whether any does."""

from __future__ import annotations

from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import MLX, CatalogEntry, ModelFacts
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import NEWEST_KNOWN, OLDEST_SUPPORTED, EngineVersion

VERSION_FIELD = "spec.engine.version"
IMAGE_FIELD = "spec.engine.image"

_OVERRULED = f"; if the image holds a newer vLLM than its tag says, name it in {VERSION_FIELD}"


def check_version(version: EngineVersion | None, image: str, entry: CatalogEntry | None) -> list[Problem]:
    """``version``: None when neither the tag nor a field has it; then the newest known is assumed."""
    if version is None:
        return [
            Problem(
                Reason.ENGINE_VERSION_UNKNOWN,
                f"image {image} does not tell vLLM's version: {NEWEST_KNOWN} is assumed; set {VERSION_FIELD}",
                VERSION_FIELD,
                "warning",
            )
        ]
    if version < OLDEST_SUPPORTED:
        return [
            Problem(
                Reason.ENGINE_VERSION_TOO_OLD,
                f"vLLM {version} does not know Qwen3: use {OLDEST_SUPPORTED} or newer{_OVERRULED}",
                IMAGE_FIELD,
            )
        ]
    if entry is not None and version < EngineVersion.of(entry.floor_version):
        return [
            Problem(
                Reason.ENGINE_VERSION_TOO_OLD,
                f"{entry.id} needs vLLM {entry.floor_version} or newer, and {image} has {version}{_OVERRULED}",
                IMAGE_FIELD,
            )
        ]
    if version > NEWEST_KNOWN:
        return [
            Problem(
                Reason.ENGINE_VERSION_UNKNOWN,
                f"vLLM {version} is newer than this operator knows: its flags are taken to be those of {NEWEST_KNOWN}",
                IMAGE_FIELD,
                "warning",
            )
        ]
    return []


def check_format(model_id: str, facts: ModelFacts | None, *, named: str | None = None) -> list[Problem]:
    """Why vLLM cannot load the files, whatever its release. ``named``: a quantization that the user names."""
    if facts is None or facts.quantization is None or facts.quantization.method != MLX or named is not None:
        return []
    words = (
        f"{model_id} is quantized for MLX (its quantization has no quant_method), which vLLM cannot load: take the "
        "original, or an FP8, AWQ or GPTQ copy"
    )
    return [Problem(Reason.MODEL_NOT_SERVED, words, "spec.model.id")]

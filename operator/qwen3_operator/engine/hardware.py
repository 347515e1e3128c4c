"""Whether a kind of GPU can run a checkpoint at all, whatever its memory."""

from __future__ import annotations

from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion

DTYPE_FIELD = "spec.engine.dtype"
IMAGE_FIELD = "spec.engine.image"
MODEL_FIELD = "spec.model.id"

_KERNELS_FROM = (7, 5)
_BUILT_FOR_CUDA_13_SINCE = EngineVersion.of("0.20.0")
"""vLLM's own wheels and images (vllm-project/vllm#39878): CUDA 13 makes no kernels for cards before Turing."""
_BFLOAT16_FROM = (8, 0)
_AUTO_FALLS_BACK_SINCE = EngineVersion.of("0.9.1")
"""From here on `auto` takes float16 where the GPU has no bfloat16; before, it failed as bfloat16 does."""

_FP8_FROM = (7, 5)
_FP8_FROM_BEFORE = (8, 0)
_FP8_ON_TURING_SINCE = EngineVersion.of("0.11.0")
"""0.10.2 asks for 8.0 and 0.18.0 for 7.5; between them nobody checked, so nothing is refused."""


def check_gpu(
    facts: ModelFacts, gpu: Gpu, version: EngineVersion, dtype: str | None = None, *, own_image: bool = False
) -> list[Problem]:
    """Why this GPU cannot run the checkpoint; empty when it can or its compute capability is not known.

    ``dtype``: as in the spec, None or ``auto``: vLLM chooses. ``own_image``: the spec names an image, and may know that
    it is built for this card.
    """
    has = gpu.compute_capability
    if has is None:
        return []
    card = f"{gpu.name or 'the GPU'} (compute capability {has[0]}.{has[1]})"
    if has < _KERNELS_FROM and version >= _BUILT_FOR_CUDA_13_SINCE and not own_image:
        words = (
            f"vLLM's images are built for CUDA 13 since {_BUILT_FOR_CUDA_13_SINCE}, and have no kernels for {card}: "
            f"take another GPU, or name an image that is built for it in {IMAGE_FIELD}"
        )
        return [Problem(Reason.KERNEL_IMAGE_MISSING, words, IMAGE_FIELD)]
    problems = []
    wants_bfloat16 = dtype == "bfloat16" or (dtype in (None, "auto") and version < _AUTO_FALLS_BACK_SINCE)
    if wants_bfloat16 and has < _BFLOAT16_FROM and "bfloat16" in (dtype, facts.dtype):
        problems.append(
            Problem(Reason.DTYPE_NOT_SUPPORTED, f"{card} has no bfloat16: set {DTYPE_FIELD} to half", DTYPE_FIELD)
        )
    needed = _FP8_FROM if version >= _FP8_ON_TURING_SINCE else _FP8_FROM_BEFORE
    if facts.quantization is not None and facts.quantization.method == "fp8" and has < needed:
        words = (
            f"{card} cannot run FP8 checkpoints in vLLM {version}, which needs {needed[0]}.{needed[1]}: use an AWQ one"
        )
        problems.append(Problem(Reason.QUANTIZATION_NOT_SUPPORTED, words, MODEL_FIELD))
    return problems

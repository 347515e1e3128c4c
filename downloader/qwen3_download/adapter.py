"""A LoRA adapter: which files of a repository are one, and what they say of it, copied within bounds.

vLLM reads adapter_config.json and one file of weights beside it, from the root of a folder and nowhere else
(lora/lora_model.py). Whether it fits a model is decided by the operator, as for config.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from qwen3_download.errors import Failure, Reason
from qwen3_download.facts import is_small
from qwen3_download.listing import ADAPTER, RemoteFile
from qwen3_download.reading import read_json
from qwen3_download.tensors import read_header

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""In vLLM's order: it takes the first that is there."""

_KEYS = (
    *("peft_type", "r", "lora_alpha", "target_modules", "modules_to_save", "bias", "lora_bias", "init_lora_weights"),
    *("use_dora", "use_rslora", "use_qalora", "use_bdlora", "layer_replication", "alora_invocation_tokens"),
)
_BASE, _RANKS = "base_model_name_or_path", "rank_pattern"
_LONGEST_BASE = 200
_MOST_MODULES = 24
_TENSOR = re.compile(r"(?P<path>.{0,400}\.)(?P<module>\w{1,64})\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_FUSED = ("experts", "base_layer")
"""Modules that hold all experts in one tensor: its shape says nothing of the rank."""


def select_adapter(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Exactly the files of an adapter that vLLM reads. Raises Failure(InvalidRepository) where it is none."""
    by_path = {f.path: f for f in files}
    weights = next((name for name in WEIGHTS if name in by_path), None)
    if ADAPTER not in by_path or weights is None:
        missing = ADAPTER if ADAPTER not in by_path else " or ".join(WEIGHTS)
        raise Failure(Reason.INVALID_REPOSITORY, f"no adapter: there is no {missing} at the root{_instead(by_path)}")
    chosen = (by_path[ADAPTER], by_path[weights])
    if unknown := next((f.path for f in chosen if not f.sha256), None):
        raise Failure(Reason.INVALID_REPOSITORY, f"the listing gives no size or no sha256 for {unknown!r}")
    return chosen


def _instead(paths: Mapping[str, RemoteFile]) -> str:
    nested = sorted({str(PurePosixPath(p).parent) for p in paths if "/" in p and PurePosixPath(p).name == ADAPTER})
    if nested:
        shown = ", ".join(nested[:4]) + (" …" if len(nested) > 4 else "")
        return f"; there are adapters in {shown}: publish one of them as a repository of its own"
    if "config.json" in paths:
        return ": this is a whole model"
    return ""


def read_adapter(folder: Path) -> dict[str, Any]:
    """The facts of FOLDER/adapter_config.json by its own names; {} where it cannot be read.

    A map of ranks is copied as the largest of them, and of a path that names the base model its end.
    """
    config = read_json(folder / ADAPTER)
    if not isinstance(config, Mapping):
        return {}
    found = {key: config[key] for key in _KEYS if is_small(config.get(key))}
    if isinstance(base := config.get(_BASE), str):
        found[_BASE] = base[-_LONGEST_BASE:]
    ranks = config.get(_RANKS)
    if isinstance(ranks, Mapping) and (numbers := [n for n in ranks.values() if type(n) is int]):
        found[_RANKS] = max(numbers)
    # What is a map or a long list there is a feature all the same, and vLLM may not have it.
    return found | {key: True for key in _KEYS if config.get(key) and key not in found}


def read_shapes(folder: Path) -> dict[str, Any]:
    """What the tensors' shapes say: rank, layers, and inputs and outputs of each kind of module; {} where they cannot
    be read. `experts.` goes before the modules of experts, which have sizes of their own."""
    try:
        return _described({name: tensor.shape for name, tensor in read_header(folder / WEIGHTS[0]).items()})
    except (OSError, ValueError):
        return {}


def _described(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    rank = layers = 0
    modules: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if match is None or len(shape) != 2 or match["module"] in _FUSED:
            continue
        kind = ("experts." if ".experts." in match["path"] else "") + match["module"]
        if kind not in modules and len(modules) == _MOST_MODULES:
            continue
        layer = next((int(n) for before, n in pairwise(match["path"].split(".")) if before == "layers"), -1)
        rank_at, size_at = (0, 1) if match["side"] == "A" else (1, 0)
        sizes = modules.setdefault(kind, [0, 0])
        sizes[rank_at] = max(sizes[rank_at], shape[size_at])
        rank, layers = max(rank, shape[rank_at]), max(layers, layer + 1)
    return {"rank": rank, "layers": layers, "modules": modules} if modules else {}

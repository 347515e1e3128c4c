"""GPUs by name, and how much memory vLLM sees on one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from qwen3_operator.engine.version import EngineVersion

MIB_PER_GIB = 1024
_SEEN_OF_LABEL = 0.994
"""torch's total_memory over nvidia-smi's, which is what nvidia.com/gpu.memory holds: 0.9941 H100, 0.9957 H200."""
_SEEN_OF_NOMINAL = 0.98
_SEEN_OF_NOMINAL_SMALL = 0.915
"""torch's total_memory over the size on the box: 0.99 of an H100 or H200, 0.92 of the cards below 60 GiB whose error
correction takes its part (L4, A10, L40S)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as far as it is known. ``memory_gib``: the total that torch sees."""

    memory_gib: float
    source: Literal["exact", "measured", "label", "table", "spec"]
    name: str = ""
    compute_capability: tuple[int, int] | None = None
    sharers: int = 1
    """Servers that take turns on the GPU: each sees all of its memory, and may have this part of it."""

    @classmethod
    def named(cls, name: str) -> Gpu | None:
        """A card of the table by its product label (``NVIDIA-H100-80GB-HBM3``) or a short name (``H100-80GB``)."""
        words = _words(name)
        for row in _table():
            if row.match <= words or _words(row.name) == words:
                source: Literal["measured", "table"] = "measured" if row.measured else "table"
                return cls(row.memory_gib, source, row.name, row.compute)
        return None

    @classmethod
    def from_labels(cls, product: str | None, memory_mib: int | None) -> Gpu | None:
        """From a node's labels nvidia.com/gpu.product and nvidia.com/gpu.memory (MiB of one GPU)."""
        known = cls.named(product) if product else None
        if memory_mib is None:
            return known
        labelled = memory_mib * _SEEN_OF_LABEL / MIB_PER_GIB
        if known is not None and abs(known.memory_gib - labelled) < 0.03 * labelled:
            return known
        return cls(labelled, "label", product or "", known.compute_capability if known else None)

    @classmethod
    def from_spec(cls, memory_gib: float, product: str | None = None) -> Gpu:
        """From the size a person wrote (``80Gi``): what is on the box, of which torch sees a little less."""
        known = cls.named(product) if product else None
        seen = memory_gib * (_SEEN_OF_NOMINAL if memory_gib >= 60 else _SEEN_OF_NOMINAL_SMALL)
        return cls(seen, "spec", product or "", known.compute_capability if known else None)

    @classmethod
    def on_the_box(cls, memory_gib: float, product: str) -> Gpu:
        """From the size that a vendor sells and a name: the known card of about that size, else as ``from_spec``."""
        known = cls.named(product)
        if known is not None and abs(known.memory_gib - memory_gib) < 0.12 * memory_gib:
            return known
        return cls.from_spec(memory_gib, product)

    @classmethod
    def exact(cls, memory_gib: float, name: str = "") -> Gpu:
        """From the total that torch sees."""
        return cls(memory_gib, "exact", name)


def known_gpus() -> tuple[Gpu, ...]:
    """Every card of the table once."""
    found = (Gpu.named(name) for name in dict.fromkeys(row.name for row in _table()))
    return tuple(gpu for gpu in found if gpu is not None)


@dataclass(frozen=True)
class SchedulerDefaults:
    """What vLLM chooses when the command line is silent."""

    max_num_seqs: int
    max_num_batched_tokens: int


def scheduler_defaults(gpu: Gpu, version: EngineVersion) -> SchedulerDefaults:
    """vLLM's own rule (engine/arg_utils.py, the same since 0.8.5 but for the tier of 160 GiB)."""
    if gpu.memory_gib >= 160 and version >= _LARGEST_TIER_SINCE:
        return SchedulerDefaults(1024, 16384)
    if gpu.memory_gib >= 70 and not gpu.name.lower().replace("nvidia-", "").startswith("a100"):
        return SchedulerDefaults(1024, 8192)
    return SchedulerDefaults(256, 2048)


_LARGEST_TIER_SINCE = EngineVersion.of("0.28.0")


def default_utilization(version: EngineVersion) -> float:
    """--gpu-memory-utilization when the command line is silent."""
    return 0.92 if version >= EngineVersion.of("0.20.0") else 0.9


@dataclass(frozen=True)
class _Row:
    name: str
    match: frozenset[str]
    memory_gib: float
    compute: tuple[int, int]
    measured: bool


def _words(name: str) -> frozenset[str]:
    """The words of a product name; ``80gb``, ``80g`` and ``80gib`` are one word."""
    words = re.split(r"[^a-z0-9.]+", name.lower())
    return frozenset(re.sub(r"^(\d+)g(i?b)?$", r"\1gb", word) for word in words if word)


@cache
def _table() -> tuple[_Row, ...]:
    text = resources.files("qwen3_operator.engine").joinpath("gpus.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith(("#", "name\t"))]
    return tuple(
        _Row(name, _words(match), float(memory), _compute(compute), source == "measured")
        for name, match, memory, compute, source in rows
    )


def _compute(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)

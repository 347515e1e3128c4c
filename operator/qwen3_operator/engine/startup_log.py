"""Stages of a start, read from vLLM's own log lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qwen3_in_engine.server.contract import NOT_LOADED
from qwen3_operator.engine.text import LONGEST_LINE

MOST_WORDS = 200
"""Characters of what a server says about itself that go into a status."""


@dataclass(frozen=True)
class StartupLog:
    """What a server said about its start so far. None: not said (yet). Seconds are durations of a stage."""

    weights_seconds: float | None = None
    weights_gib: float | None = None
    """GPU memory of the weights on one rank."""
    compile_seconds: float | None = None
    graphs_seconds: float | None = None
    init_seconds: float | None = None
    """Profiling, KV cache and warm-up, compilation and graphs included."""
    kv_cache_gib: float | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    """Full-length sequences that fit at once."""
    ready: bool = False
    without_middleware: str | None = None
    """Why the server runs without our middleware; None where it does not say so."""

    @property
    def stage(self) -> str:
        """The last stage that was reached: Starting, LoadingWeights, Compiling, CapturingGraphs, Ready."""
        if self.ready:
            return "Ready"
        if self.kv_cache_tokens is not None:
            return "CapturingGraphs"
        return "Compiling" if self.weights_seconds is not None else "Starting"


_PATTERNS: dict[str, re.Pattern[str]] = {
    "weights_seconds": re.compile(r"Loading weights took (\d{1,9}(?:\.\d{1,9})?) seconds"),
    "weights_gib": re.compile(r"Model loading took (\d{1,9}(?:\.\d{1,9})?) Gi?B"),
    "compile_seconds": re.compile(r"torch\.compile (?:took|takes) (\d{1,9}(?:\.\d{1,9})?) s"),
    "graphs_seconds": re.compile(r"Graph capturing finished in (\d{1,9}(?:\.\d{1,9})?) sec"),
    "init_seconds": re.compile(r"init engine \([^)]{0,120}\) took (\d{1,9}(?:\.\d{1,9})?) s"),
    "kv_cache_gib": re.compile(r"Available KV cache memory: (-?\d{1,9}(?:\.\d{1,9})?) GiB"),
    "kv_cache_tokens": re.compile(r"KV cache size: (\d[\d,]{0,19}) tokens"),
    "max_concurrency": re.compile(r"Maximum concurrency for [\d,]{1,20} tokens per request: (\d{1,9}(?:\.\d{1,9})?)x"),
}


def parse_startup_log(lines: Iterable[str]) -> StartupLog:
    """Read the lines of one start, in order. With several ranks the slowest stage and the smallest cache count."""
    found: dict[str, list[float]] = {name: [] for name in _PATTERNS}
    ready, without_middleware = False, None
    for line in (line[:LONGEST_LINE] for line in lines):
        for name, pattern in _PATTERNS.items():
            match = pattern.search(line)
            if match:
                found[name].append(float(match[1].replace(",", "")))
        ready = ready or "Application startup complete" in line
        if NOT_LOADED in line:
            without_middleware = line.partition(NOT_LOADED)[2].strip()[:MOST_WORDS]
    slowest = {name: max(values, default=None) for name, values in found.items()}
    smallest = {name: min(values, default=None) for name, values in found.items()}
    tokens = smallest["kv_cache_tokens"]
    return StartupLog(
        weights_seconds=slowest["weights_seconds"],
        weights_gib=slowest["weights_gib"],
        compile_seconds=slowest["compile_seconds"],
        graphs_seconds=slowest["graphs_seconds"],
        init_seconds=slowest["init_seconds"],
        kv_cache_gib=smallest["kv_cache_gib"],
        kv_cache_tokens=int(tokens) if tokens is not None else None,
        max_concurrency=smallest["max_concurrency"],
        ready=ready,
        without_middleware=without_middleware,
    )

"""The measured starts of vLLM 0.33.0 on one to four H200 as loads: data/gpu-vllm-033.csv, FlashInfer's sampler off."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from qwen3_operator.catalog import ModelFacts, lookup
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

VERSION = EngineVersion.of("0.33.0")
_FILE = Path(__file__).parent / "data" / "gpu-vllm-033.csv"


@dataclass(frozen=True)
class Row:
    case: str
    load: Load
    max_model_len: int
    weights_gib: float
    warm: bool
    """Started with the compile cache of another start: it takes less than a first one, which is what is predicted."""
    available_kv_gib: float | None
    """None where the start was stopped before it was known."""
    overhead_gib: float | None
    kv_tokens: int | None
    held_gib: float | None
    """Used before vLLM first measures."""


def rows() -> list[Row]:
    return [_row(row) for row in csv.DictReader(_FILE.open())]


def _row(row: dict[str, str]) -> Row:
    case, gpu = row["case"], Gpu.named("H200")
    assert gpu is not None
    load = Load(
        facts=facts_of(case),
        gpu=gpu,
        version=VERSION,
        sharding=Sharding(int(row["tp"]), expert_parallel=case.endswith("-EP")),
        utilization=float(row["utilization"]),
        max_num_seqs=int(row["max_num_seqs"]),
        max_num_batched_tokens=int(row["max_num_batched_tokens"]),
        max_position=131072 if "yarn" in case else None,
        pooling=case.startswith("Reranker"),
        flashinfer_sampler=False,
    )
    return Row(
        case,
        load,
        int(row["max_model_len"]),
        float(row["weights_gib"]),
        row["compile_cache"] == "warm",
        _number(row["available_kv_gib"]),
        _number(row["overhead_gib"]),
        int(row["kv_tokens"]) if row["kv_tokens"] else None,
        _number(row["free_before_snapshot_taken_gib"]),
    )


def facts_of(case: str) -> ModelFacts:
    found = re.match(r"(Reranker-)?\d+(\.\d+)?B(-A3B)?(-AWQ|-FP8|-GPTQ-Int4)?", case)
    assert found is not None
    entry = lookup(f"Qwen/Qwen3-{found[0]}")
    assert entry is not None and entry.facts is not None, case
    return entry.facts


def _number(text: str) -> float | None:
    return float(text) if text else None

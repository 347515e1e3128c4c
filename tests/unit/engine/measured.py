"""The measured starts of vLLM 0.26.0 as loads: data/gpu-h100.csv (cold and eager rows) and data/gpu-h200.csv."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from qwen3_operator.catalog import lookup
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.memory import Load
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

DATA = Path(__file__).parent / "data"
VERSION = EngineVersion.of("0.26.0")
H100 = Gpu(79.18, "measured", "H100-80GB")
H200 = Gpu(139.80, "measured", "H200")
IMITATED_GIB = {"as24G": 23.55, "as40G": 39.4, "as48G": 44.4}


@dataclass(frozen=True)
class Row:
    case: str
    load: Load
    weights_gib: float
    available_kv_gib: float
    kv_tokens: int | None
    max_model_len: int
    too_long: bool
    """vLLM refused to start because the KV cache was too small, or there was none."""


def rows() -> list[Row]:
    return [*_h100(), *_h200()]


def _h100() -> list[Row]:
    found = []
    for row in csv.DictReader((DATA / "gpu-h100.csv").open()):
        case = row["case"]
        if "warm" in case:  # a compile-cache hit needs less than the first start, which is what is predicted
            continue
        utilization = re.search(r"util([\d.]+)", case)
        small = "small-gpu-defaults" in case
        load = Load(
            facts=_facts(case),
            gpu=H100,
            version=VERSION,
            utilization=float(utilization[1]) if utilization else 0.92,
            kv_cache_dtype="fp8" if "kvfp8" in case else None,
            max_num_seqs=256 if small else 1024,
            max_num_batched_tokens=2048 if small else 8192,
            enforce_eager="eager" in case,
            max_position=131072 if "yarn" in case else None,
        )
        found.append(
            Row(
                case,
                load,
                float(row["load_gib"]),
                float(row["avail_gib"]),
                int(float(row["kv_tokens"])) if row["kv_tokens"] else None,
                _length(case),
                "toolong" in case or "nokv" in case,
            )
        )
    return found


def _h200() -> list[Row]:
    found = []
    for row in csv.DictReader((DATA / "gpu-h200.csv").open()):
        case = row["case"]
        imitated = re.search(r"as\d+G", case)
        size = re.search(r"[TP]P(\d)", case)
        assert size
        utilization = re.search(r"-util([\d.]+)", case)
        # `asNNG` requests what 0.92 of a smaller card is; the row named util0.45 ran with 0.43.
        used = 0.92 * IMITATED_GIB[imitated[0]] / H200.memory_gib if imitated else 0.92
        if utilization:
            used = 0.43 if utilization[1] == "0.45" else float(utilization[1])
        small = "b2048" in case
        pipeline = "PP2" in case
        load = Load(
            facts=_facts(case),
            gpu=H200,
            version=VERSION,
            sharding=Sharding(
                1 if pipeline else int(size[1]), int(size[1]) if pipeline else 1, expert_parallel="-EP-" in case
            ),
            utilization=used,
            max_num_seqs=256 if small else 1024,
            max_num_batched_tokens=2048 if small else 8192,
            enforce_eager="cold" not in case,
            max_position=131072 if "yarn" in case else None,
        )
        found.append(
            Row(
                case,
                load,
                float(row["weights_gib_logged"]),
                float(row["available_kv_gib"]),
                int(row["kv_tokens"]) if row["kv_tokens"] != "-" else None,
                _length(case),
                row["state"] == "FAILED",
            )
        )
    return found


def _facts(case: str):  # type: ignore[no-untyped-def]
    size = re.match(r"(\d+(?:\.\d+)?B(?:-A3B)?)(-FP8)?", case)
    assert size
    name = "235B-A22B" if size[1] == "235B" else size[1]
    entry = lookup(f"Qwen/Qwen3-{name}{size[2] or ''}")
    assert entry is not None and entry.facts is not None, case
    return entry.facts


def _length(case: str) -> int:
    if "131k" in case:
        return 131072
    return 40960 if "40k" in case else 8192

"""Write predictions.json: what engine/memory.py says of every case, before it is measured.

PYTHONPATH=operator python -m tests.perf.gpu.predict
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.perf.gpu.cases import CASES, ENGINE_VERSION, GPU_NAME, SERVING, Case

from qwen3_operator.engine.fit import preflight

PREDICTIONS = Path(__file__).with_name("predictions.json")


def prediction(case: Case) -> dict[str, object]:
    """Of one case: GiB as vLLM counts them, tokens, and the verdict."""
    report = preflight(case.load, case.max_model_len)
    memory = report.memory
    assert memory is not None
    return {
        "tests": case.tests,
        "requested_gib": round(memory.requested_gib, 3),
        "weights_gib": round(memory.weights_gib, 3),
        "overhead_gib": round(memory.overhead_gib, 3),
        "kv_cache_gib": round(memory.kv_cache_gib, 3),
        "kv_cache_tokens": memory.kv_tokens,
        "longest": memory.longest(),
        "max_model_len_that_fits": report.max_model_len_that_fits,
        "verdict": report.verdict,
    }


def main() -> None:
    cases = {case.name: prediction(case) for case in (*CASES, SERVING)}
    document = {"gpu": GPU_NAME, "engine_version": str(ENGINE_VERSION), "cases": cases}
    PREDICTIONS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for name, row in cases.items():
        print(f"{name:42} {row['kv_cache_gib']:8.3f} GiB {row['kv_cache_tokens']:9} tokens  {row['verdict']}")


if __name__ == "__main__":
    main()

"""Tokens a second of a Qwen3Batch's runner beside plain `LLM.generate` of the same lines, on vLLM's CPU build.

`python -m tests.perf.batch [LINES] [ROUNDS]` runs both in turn and writes figures.json. Time counts from when the
engine is ready; of the runner it includes reading, rendering, and each answer synced to the disk. CPU seconds are those
of the whole process less its start (a run with one line): the fairer figure on a machine with other work.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.batch.real import CHECKPOINT, PYTHON, RealBatch, environment

MAX_TOKENS = 16
LEAST_RATIO = 0.9
FIGURES = Path(__file__).with_name("figures.json")


def lines(count: int) -> list[dict[str, Any]]:
    """Short prompts, no two alike."""
    return [{"prompt": f"Count from 1 to {index}."} for index in range(count)]


def cpu() -> float:
    """CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def batch(folder: Path, count: int) -> dict[str, float]:
    """One run of the runner."""
    it = RealBatch(folder, lines(count), sampling_plain={"temperature": 0, "max_tokens": MAX_TOKENS})
    before = cpu()
    if it.run(**it.how):
        raise SystemExit(it.log()[-3000:])
    report = it.message()
    return {"tokens": report["completionTokens"], "seconds": report["seconds"], "cpu": cpu() - before}


def plain(folder: Path, count: int) -> dict[str, float]:
    """One run of LLM.generate."""
    folder.mkdir(parents=True)
    source = folder / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines(count)), encoding="utf-8")
    command = [PYTHON, str(Path(__file__).with_name("plain.py")), str(source), str(CHECKPOINT), str(MAX_TOKENS)]
    before = cpu()
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | {"cpu": cpu() - before}


def main(count: int = 10_000, rounds: int = 2) -> int:
    """Compare, write the figures; 1 where the runner is too slow."""
    ways = {"batch": batch, "plain": plain}
    with tempfile.TemporaryDirectory() as name:
        starts = {way: run(Path(name) / f"{way}-start", 1)["cpu"] for way, run in ways.items()}
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for way, run in ways.items():
                result = run(Path(name) / f"{way}-{number}", count)
                result["tokens_per_second"] = round(result["tokens"] / result["seconds"])
                result["tokens_per_cpu_second"] = round(result["tokens"] / (result["cpu"] - starts[way]))
                found[way].append({key: round(value, 1) for key, value in result.items()})
                print(way, found[way][-1], flush=True)
    best = {
        way: {unit: max(r[unit] for r in runs) for unit in ("tokens_per_second", "tokens_per_cpu_second")}
        for way, runs in found.items()
    }
    ratios = {unit: round(best["batch"][unit] / best["plain"][unit], 3) for unit in best["plain"]}
    figures = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.0f} of other work",
        "lines": count,
        "max_tokens": MAX_TOKENS,
        "batch_over_plain": ratios,
        "runs": found,
    }
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(ratios))
    return 0 if ratios["tokens_per_cpu_second"] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

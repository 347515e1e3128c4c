"""A thousand Qwen3Deployments on simulated nodes: how long, how many requests, how much CPU and memory.

    python -m tests.perf.scale [--case NAME] [--runs 1] [--many 5000] [--divide 1]

The operator runs as a process of its own on a fresh control plane; the API server's audit log counts its requests,
Leases and watches apart. Prints every row of thresholds.yaml and where the time goes, keeps the figures in
figures.json, and ends non-zero when a row misses what it must meet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.perf.scale.cases import CASES, SIZES, Bench, Figures, Result

HERE = Path(__file__).parent
Row = dict[str, Any]


def main() -> int:
    """Measure, print, compare, record; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one (may be repeated)")
    parser.add_argument("--runs", type=int, default=1, help="runs, each on fresh clusters; medians count (default: 1)")
    parser.add_argument("--many", type=int, default=SIZES["many"], help="Qwen3Deployments of that case (default: 5000)")
    parser.add_argument("--divide", type=int, default=1, metavar="N", help="a trial with the Nth part; not recorded")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the clusters go as well
    sizes = {name: max(10, size // args.divide) for name, size in (SIZES | {"many": args.many}).items()}
    runs: dict[str, list[Result]] = {name: [] for name in args.case or CASES}
    failures: list[str] = []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            failures += _run(Bench(Path(folder), _say, sizes), runs)
    rows = judge(yaml.safe_load((HERE / "thresholds.yaml").read_text())["rows"], runs)
    print(report(rows, runs))
    print("\n".join(failures))
    if args.divide > 1:
        print(f"a trial with one of {args.divide} Qwen3Deployments: the verdicts mean little")
        return bool(failures)
    record(HERE / "figures.json", runs, sizes)
    return 1 if failures or any(row["verdict"] == "MISSED" for row in rows) else 0


def _run(bench: Bench, runs: dict[str, list[Result]]) -> list[str]:
    """Every case once; what could not be measured, in words."""
    failures = []
    for name, results in runs.items():
        try:
            results.append(bench.result(name))
            _say(f"{name}: {json.dumps(results[-1].figures)}")
        except (TimeoutError, AssertionError, RuntimeError) as error:
            failures.append(f"{name}: FAILED: {error}")
            _say(failures[-1])
    return failures


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def medians(results: Sequence[Result]) -> Figures:
    """Each figure's median over the runs."""
    return {name: statistics.median(result.figures[name] for result in results) for name in results[0].figures}


def judge(rows: Sequence[Row], runs: dict[str, list[Result]]) -> list[Row]:
    """The rows of the cases that ran, with value and verdict."""
    judged = []
    for row in rows:
        if results := runs.get(row["case"]):
            value = medians(results)[row["figure"]]
            verdict = "aim met" if value <= row["aim"] else "met" if value <= row["must"] else "MISSED"
            judged.append(row | {"value": value, "verdict": verdict})
    return judged


def report(rows: Sequence[Row], runs: dict[str, list[Result]]) -> str:
    """The table, then all figures and where the time went, case by case."""
    lines = [f"{'':64}{'measured':>10}{'must':>8}{'aim':>8}  {'':9}before"]
    for row in rows:
        limits = f"{row['must']:>8g}{row['aim']:>8g}"
        lines.append(f"{row['words']:64}{row['value']:>10.2f}{limits}  {row['verdict']:9}{row.get('before', '')}")
    for name, results in runs.items():
        if results:
            lines += ["", f"{name}: " + ", ".join(f"{k} {v:g}" for k, v in medians(results).items())]
            lines += [f"  {topic}: {_words(words)}" for topic, words in results[-1].where.items()]
    return "\n".join([*lines, f"on {os.cpu_count()} cores"])


def _words(found: dict[str, Any]) -> str:
    return " · ".join(f"{name} {value}" for name, value in found.items())


def record(path: Path, runs: dict[str, list[Result]], sizes: dict[str, int]) -> None:
    """Keep the figures; those of cases that did not run this time stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for name, results in runs.items():
        if results:
            known[name] = {
                "date": time.strftime("%Y-%m-%d"),
                "cores": os.cpu_count(),
                "crs": sizes[name],
                "medians": medians(results),
                "runs": [result.figures for result in results],
                "where": results[-1].where,
            }
    path.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

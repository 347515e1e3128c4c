"""Many Qwen3Deployments at once on simulated nodes: how long, how many writes, how much CPU and memory.

    python -m tests.perf.scale [--crs 100] [--models 10] [--runs 1] [--output FILE]

The operator runs as a process of its own on a fresh control plane. The API server's audit log counts its requests
(leases apart). Ends non-zero when a figure misses `thresholds.yaml`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from tests.perf.scale.measure import Scale, measure

THRESHOLDS = Path(__file__).with_name("thresholds.yaml")


def main() -> int:
    """Measure, print, compare; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--crs", type=int, default=100, help="Qwen3Deployments (default: 100)")
    parser.add_argument("--models", type=int, default=10, help="different models that they name (default: 10)")
    parser.add_argument("--runs", type=int, default=1, help="runs, each on a fresh cluster; medians count (default: 1)")
    parser.add_argument("--rest-seconds", type=float, default=60, help="how long writes at rest are counted")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    args = parser.parse_args()
    scale = Scale(args.crs, args.models, args.rest_seconds)
    runs = []
    for number in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            runs.append(measure(scale, Path(folder)))
        print(f"run {number + 1}: {json.dumps(runs[-1])}", file=sys.stderr)
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({"crs": args.crs, "models": args.models, "runs": runs}, indent=1) + "\n")
    limits = next((t["limits"] for t in _thresholds() if (t["crs"], t["models"]) == (args.crs, args.models)), {})
    return _print(medians, limits)


def _thresholds() -> list[dict[str, Any]]:
    thresholds: list[dict[str, Any]] = yaml.safe_load(THRESHOLDS.read_text())["thresholds"]
    return thresholds


def _print(figures: dict[str, float], limits: dict[str, float]) -> int:
    missed = [name for name, limit in limits.items() if figures[name] > limit]
    print(f"{'':32}{'measured':>10}{'limit':>10}")
    for name, value in figures.items():
        limit = f"{limits[name]:10.1f}" if name in limits else ""
        print(f"{name:32}{value:10.2f}{limit}{'   MISSED' if name in missed else ''}")
    if not limits:
        print("no thresholds are on file for this number of objects")
    print(f"on {os.cpu_count()} cores")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

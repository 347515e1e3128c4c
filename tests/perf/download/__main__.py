"""`python -m tests.perf.download [--rounds 5] [--case NAME]`: measure, print, record, and fail where it is too slow."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.perf.download.cases import CASES, MIB, Bench, Outcome
from tests.perf.download.measure import GIB, Figure

HERE = Path(__file__).parent
NEEDED = 7 * GIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this one (may be repeated)")
    parser.add_argument(
        "--folder", type=Path, help="where 7 GiB are free (default: /dev/shm, else the temporary folder)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the hub and the data go as well
    busy = os.getloadavg()[0]
    thresholds = json.loads((HERE / "thresholds.json").read_text())
    with tempfile.TemporaryDirectory(dir=args.folder or roomy_folder(), prefix="bench-download-") as folder:
        bench = Bench(Path(folder), args.rounds, lambda text: print(f"  {text}", file=sys.stderr, flush=True))
        bench.make_data()
        rows: dict[str, dict[str, Any]] = {}
        largest = 0
        for name in args.case or CASES:
            print(f"{name}: {(CASES[name].__doc__ or '').strip()}", file=sys.stderr, flush=True)
            outcomes = CASES[name](bench)
            largest = max([largest, *(o.figures["ours"].rss for o in outcomes.values() if "ours" in o.figures)])
            outcomes["memory"] = Outcome(largest / MIB, {})
            rows |= {name: judge(outcome, thresholds[name]) for name, outcome in outcomes.items()}
            record({name: row | {"rounds": args.rounds, "loadBefore": round(busy, 1)} for name, row in rows.items()})
    print(table(rows))
    if busy > 1:
        print(f"the machine had a load of {busy:.1f} before: on an idle one the figures are better")
    return 0 if all(row["met"] for row in rows.values()) else 1


def judge(outcome: Outcome, threshold: dict[str, Any]) -> dict[str, Any]:
    """The value against its threshold: `must` is a least, `most` a greatest."""
    value = outcome.value
    if "must" in threshold:
        met, aimed = value >= threshold["must"], value >= threshold["aim"]
    else:
        met, aimed = value <= threshold["most"], value <= threshold["aim"]
    figures = {name: show(figure) for name, figure in outcome.figures.items()}
    return {"value": round(value, 3), "met": met, "aimMet": aimed, **threshold, "programs": figures, **outcome.details}


def show(figure: Figure) -> dict[str, Any]:
    return {
        "seconds": round(figure.seconds, 3),
        "megabytesPerSecond": round(figure.rate / 1e6, 1),
        "cpuSecondsPerGiB": round(figure.cpu_seconds / figure.size * GIB, 2),
        "residentMiB": round(figure.rss / MIB),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'case':26} {'value':>12} {'limit':>12} {'aim':>8}  result   seconds by program (CPU s per GiB)"]
    for name, row in rows.items():
        limit = f">= {row['must']:g}" if "must" in row else f"<= {row['most']:g}"
        result = "aim met" if row["aimMet"] else "met" if row["met"] else "MISSED"
        runs = ", ".join(f"{n} {p['seconds']:.2f} ({p['cpuSecondsPerGiB']:.1f})" for n, p in row["programs"].items())
        lines.append(f"{name:26} {row['value']:>12g} {limit:>12} {row['aim']:>8g}  {result:8} {runs}")
    return "\n".join(lines)


def record(rows: dict[str, dict[str, Any]]) -> None:
    """Keep the figures of cases that did not run this time, so that what ended early is there too."""
    path = HERE / "figures.json"
    known = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    known = {"machine": machine, "cases": known["cases"] | rows}
    path.write_text(json.dumps(known, indent=1) + "\n")


def roomy_folder() -> Path:
    """Memory where it is large enough, so that the disk is not what is measured."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > NEEDED:
        return memory
    return Path(tempfile.gettempdir())


if __name__ == "__main__":
    sys.exit(main())

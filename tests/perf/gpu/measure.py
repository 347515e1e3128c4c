"""Start vLLM for every case on this machine's GPU and write measured.json.

PYTHONPATH=operator python -m tests.perf.gpu.measure [--out FILE] [--logs FOLDER] [CASE ...]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.perf.gpu.cases import CASES, Case
from tests.perf.gpu.checkpoint import write_checkpoint
from tests.perf.gpu.server import serving

from qwen3_operator.engine.startup_log import parse_startup_log

MEASURED = Path(__file__).with_name("measured.json")

_GPU = """
import json, torch
seen = torch.cuda.get_device_properties(0)
print(json.dumps({"name": seen.name, "total_bytes": seen.total_memory}))
"""
_BREAKDOWN = {  # logged at debug level
    "peak_gib": re.compile(r"torch peak memory increase: ([\d.]+) ?GiB"),
    "non_torch_gib": re.compile(r"non-torch forward increase memory: ([\d.]+) ?GiB"),
}
_TOO_LONG = re.compile(
    r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed.*?available KV cache memory \(([\d.]+) GiB\)"
    r".*?estimated maximum model length is (\d+)",
    re.DOTALL,
)


def machine() -> dict[str, Any]:
    """The GPU and the versions; asked in a child so that this process holds no GPU memory."""
    gpu = json.loads(subprocess.run([sys.executable, "-c", _GPU], check=True, capture_output=True, text=True).stdout)
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    driver, total = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split("\n")[0].split(", ")
    versions = {name: version(name) for name in ("vllm", "torch", "transformers", "triton")}
    return {"gpu": gpu | {"driver": driver, "nvidia_smi": total}, "versions": versions}


def measured(case: Case, folder: Path, logs: Path) -> dict[str, Any]:
    """One start with an empty compile cache, until it is ready or has failed."""
    model, log = folder / case.name, logs / f"{case.name}.log"
    write_checkpoint(model, case.facts)
    environment = {"VLLM_CACHE_ROOT": str(folder / f"{case.name}-cache"), "VLLM_LOGGING_LEVEL": "DEBUG"}
    with serving(model, case.flags, log, environment=environment) as server:
        used = _used_mib() if server.ready else None
    return row_of(log) | {"ready": server.ready, "seconds": round(server.seconds, 1), "nvidia_smi_mib": used}


def row_of(log: Path) -> dict[str, Any]:
    """What a log says of memory."""
    text = log.read_text(encoding="utf-8", errors="replace")
    row: dict[str, Any] = {"log": asdict(parse_startup_log(text.splitlines()))}
    for name, pattern in _BREAKDOWN.items():
        found = pattern.search(text)
        row[name] = float(found[1]) if found else None
    found = _TOO_LONG.search(text)
    if found:
        row["too_long"] = {
            "max_model_len": int(found[1]),
            "needed_gib": float(found[2]),
            "available_gib": float(found[3]),
            "estimated_max_model_len": int(found[4]),
        }
    return row


def _used_mib() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split("\n")[0])


def main() -> None:
    """Measure and write after every case; rows of other cases in the file stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MEASURED)
    parser.add_argument("--logs", type=Path, default=None)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"cases": {}}
    if arguments.out.exists():
        document = json.loads(arguments.out.read_text(encoding="utf-8"))
    document |= machine()
    with tempfile.TemporaryDirectory() as scratch:
        logs = arguments.logs or Path(scratch)
        for case in CASES:
            if arguments.cases and case.name not in arguments.cases:
                continue
            row = measured(case, Path(scratch), logs)
            document["cases"][case.name] = row
            arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            print(case.name, json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

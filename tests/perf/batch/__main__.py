"""Tokens a second of a Qwen3Batch's runner beside plain `LLM.generate` of the same lines.

On a GPU with vLLM (`pip install vllm`), from the root of the repository, random weights in a real model's shape:

    PYTHONPATH=operator:in_engine:. python -m tests.perf.batch --model Qwen/Qwen3-0.6B

Without a GPU, on vLLM's CPU build and the tiny model:

    python -m tests.perf.batch --cpu

It adds a row to gpu.json beside this file (or --out), and ends with 1 where the ratio is below 0.95. On an H200 a round
takes about three minutes with Qwen3-0.6B and four with Qwen3-8B, most of it starts.

Both ways run in turns; the figure is the ratio of the medians. Time counts from when the engine is ready to the last
answer; of the runner it includes asking over HTTP, the server's handlers, and each answer synced to the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.batch.runner import REPOSITORY, Batch
from tests.perf.gpu.checkpoint import TINY, write_checkpoint

from qwen3_operator.catalog import resolve

LEAST_RATIO = 0.95
PLAIN = Path(__file__).with_name("plain.py")
LETTERS = "abcdefghijklmnopqrstuvwxyz "


class Place:
    """Where it runs: with which Python, engine and model."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder = arguments, folder
        self.engine: tuple[str, ...]
        if arguments.cpu:
            from tests.batch.real import ENGINE, PYTHON, environment

            self.python, self.environment, self.engine, self.model = PYTHON, environment(), ENGINE, str(TINY)
            self.keywords: dict[str, Any] = {"enforce_eager": True, "kv_cache_memory_bytes": 64_000_000}
        else:
            entry = resolve(arguments.model, None)
            if entry is None or entry.facts is None:
                raise SystemExit(f"{arguments.model} is not in the catalogue")
            self.model = str(folder / "model")
            write_checkpoint(Path(self.model), entry.facts)
            self.python, self.environment = sys.executable, dict(os.environ)
            # The `vllm` beside this Python, whatever PATH says.
            vllm = str(Path(sys.executable).with_name("vllm"))
            self.engine = (vllm, "serve", self.model, "--served-model-name", "m", "--load-format", "dummy")
            self.engine += ("--max-model-len", str(arguments.length))
            self.keywords = {"load_format": "dummy", "max_model_len": arguments.length}
        if arguments.cpu:
            self.keywords["max_model_len"] = 2048

    def lines(self) -> list[dict[str, Any]]:
        """The prompts, no two alike; of a letter the tiny tokenizer makes a token."""
        source = random.Random(7)
        return [
            {"prompt": f"{number} {''.join(source.choices(LETTERS, k=self.arguments.prompt_tokens))}"}
            for number in range(self.arguments.lines)
        ]


def batch(place: Place, folder: Path, more: Sequence[str] = ()) -> dict[str, float]:
    """One run of the runner. `more`: arguments of its engine."""
    sampling = {"temperature": 0, "max_tokens": place.arguments.max_tokens}
    lines = [line | {"ignore_eos": True} for line in place.lines()]
    it = Batch(folder, lines, engine=[*place.engine, *more], models=[], sampling_plain=sampling)
    command = [place.python, "-m", "qwen3_in_engine.batch_runner"]
    paths = [str(REPOSITORY / "in_engine"), place.environment.get("PYTHONPATH", "")]
    if it.run(command=command, env={**place.environment, "PYTHONPATH": ":".join(filter(None, paths))}):
        raise SystemExit(it.log()[-6000:])
    report = it.message()
    if report["failed"]:
        raise SystemExit(f"{report['failed']} lines failed: {it.output.read_text(encoding='utf-8')[:2000]}")
    return {
        "tokens": report["completionTokens"],
        "prompt_tokens": report["promptTokens"],
        "seconds": report["seconds"],
    }


def plain(place: Place, folder: Path) -> dict[str, float]:
    """One run of LLM.generate."""
    folder.mkdir(parents=True)
    source, result = folder / "in.jsonl", folder / "result.json"
    source.write_text("".join(json.dumps(line) + "\n" for line in place.lines()), encoding="utf-8")
    words = [f"{name}={json.dumps(value)}" for name, value in place.keywords.items()]
    command = [place.python, str(PLAIN), str(source), place.model, str(place.arguments.max_tokens), str(result), *words]
    with (folder / "log").open("w", encoding="utf-8") as log:
        code = subprocess.run(command, env=place.environment, stdout=log, stderr=log).returncode
    if code:
        raise SystemExit((folder / "log").read_text(encoding="utf-8")[-6000:])
    found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return found


def machine() -> str:
    """What it runs on, in words."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.0f} of other work, {platform.machine()}"


def main() -> int:
    """Compare, write the figures; 1 where the runner is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B", help="shape of the model (random weights)")
    parser.add_argument("--cpu", action="store_true", help="the tiny model on vLLM's CPU build")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--length", type=int, default=4096, help="maxModelLen")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--also", action="append", default=[], metavar="WORDS", help="its engine with these as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("gpu.json"), help="where a row is added")
    parser.add_argument("--note", default="", help="what is special about this run")
    arguments = parser.parse_args()
    ways: dict[str, Callable[[Place, Path], dict[str, float]]] = {"plain": plain, "batch": batch}
    for words in arguments.also:
        ways[f"batch {words}"] = partial(batch, more=words.split())
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else []
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), arguments)
        for number in range(arguments.rounds):
            for place_of_way, (way, run) in enumerate(ways.items()):
                result = run(place, Path(name) / f"{number}-{place_of_way}")
                result["tokens_per_second"] = round(result["tokens"] / result["seconds"])
                found[way].append({key: round(value, 2) for key, value in result.items()})
                print(way, found[way][-1], flush=True)
                rows = [*before, row_of(arguments, place, found)]  # what ends early is there too
                arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    ratio = _ratio(found)
    print(json.dumps({way: _ratio(found, way) for way in ways if way != "plain"}))
    return 0 if ratio >= LEAST_RATIO else 1


def _ratio(found: dict[str, list[dict[str, float]]], way: str = "batch") -> float:
    median = {way: statistics.median(r["tokens_per_second"] for r in runs) for way, runs in found.items() if runs}
    return round(median[way] / median["plain"], 3) if {way, "plain"} <= median.keys() else 0.0


def row_of(arguments: argparse.Namespace, place: Place, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The figures so far, with what they are figures of."""
    return {
        "note": arguments.note,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "vllm": f"{version(place)}, {'tiny model' if arguments.cpu else '--load-format dummy'}",
        "model": "tiny-qwen3" if arguments.cpu else arguments.model,
        "lines": arguments.lines,
        "prompt_tokens": arguments.prompt_tokens,
        "max_tokens": arguments.max_tokens,
        "batch_over_plain": _ratio(found),
        "runs": found,
    }


def version(place: Place) -> str:
    """vLLM's."""
    command = [place.python, "-c", "from importlib.metadata import version; print(version('vllm'))"]
    return subprocess.run(command, env=place.environment, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

"""The process that asks the server: `python -m qwen3_in_engine.capacity.client BASE_URL MOST`.

Each step is what `vllm bench serve` does, by the functions that are behind it: as one process, so that torch is loaded
once and not for each step. It writes a line of JSON for each step to its standard output, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Container
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qwen3_in_engine.capacity.contract import VARIABLE, Benchmark, Step
from qwen3_in_engine.capacity.sweep import next_concurrency, requests_of

TTFT, RESULT = "p95_ttft_ms", "result.json"
_ALIGN = "_align_prompts_to_server_tokenizer"


def main(base_url: str, most: int, benchmark: Benchmark) -> None:
    """Measure step by step. Raises what vLLM raises, and ValueError where requests failed."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # vLLM prints there what is for people
    from vllm.benchmarks import serve

    if hasattr(serve, _ALIGN):  # asks /tokenize without a key; both tokenizers are the checkpoint's here
        setattr(serve, _ALIGN, _as_they_are)
    steps: list[Step] = []
    while (concurrency := next_concurrency(steps, benchmark.ttft_milliseconds, most)) is not None:
        steps.append(_measure(serve, base_url, concurrency, benchmark))
        print(json.dumps(asdict(steps[-1])), file=said, flush=True)


def arguments(base_url: str, concurrency: int, benchmark: Benchmark, folder: str, known: Container[str]) -> list[str]:
    """The command line of `vllm bench serve` for one step, of the flags that this release has."""
    flags = {
        "--backend": "openai",
        "--base-url": base_url,
        "--endpoint": "/v1/completions",
        "--model": benchmark.name,
        "--tokenizer": benchmark.model,
        "--dataset-name": "random",
        "--random-input-len": str(benchmark.input_tokens),
        "--random-output-len": str(benchmark.output_tokens),
        "--num-prompts": str(requests_of(concurrency)),
        "--max-concurrency": str(concurrency),
        "--seed": str(concurrency),  # other prompts in each step: those of the step before are in the prefix cache
        "--temperature": "0",
        "--ignore-eos": "",
        "--disable-tqdm": "",
        "--percentile-metrics": "ttft",
        "--metric-percentiles": "95",
        "--save-result": "",
        "--result-dir": folder,
        "--result-filename": RESULT,
        "--ready-check-timeout-sec": "0",
    }
    return [word for flag, value in flags.items() if flag in known for word in (flag, value) if word]


def step_of(result: dict[str, Any], concurrency: int) -> Step:
    """What one run of the benchmark says. Raises ValueError where requests failed."""
    wanted, answered = requests_of(concurrency), int(result["completed"])
    if answered < wanted:
        raise ValueError(f"{wanted - answered} of {wanted} requests failed, {concurrency} at the same time")
    return Step(concurrency, round(result["output_throughput"]), max(1, round(result[TTFT])))


def _measure(serve: Any, base_url: str, concurrency: int, benchmark: Benchmark) -> Step:
    with tempfile.TemporaryDirectory() as folder:
        parser = getattr(serve, "FlexibleArgumentParser", argparse.ArgumentParser)()  # newer releases have their own
        serve.add_cli_args(parser)
        known = {flag for action in parser._actions for flag in action.option_strings}
        serve.main(parser.parse_args(arguments(base_url, concurrency, benchmark, folder, known)))
        return step_of(json.loads((Path(folder) / RESULT).read_bytes()), concurrency)


async def _as_they_are(base_url: str, model: str, requests: Any, *_: Any) -> Any:
    return requests


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Benchmark.from_text(os.environ[VARIABLE]))

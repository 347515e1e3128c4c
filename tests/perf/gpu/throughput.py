"""Tokens a second of a real server with and without the reasoning_content middleware; writes throughput.json.

PYTHONPATH=operator python -m tests.perf.gpu.throughput [--out FILE] [--logs FOLDER]

One server, the same requests, rounds in turns; random weights, so every token is reasoning: the most the
middleware ever rewrites.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from tests.perf.gpu.cases import SERVING
from tests.perf.gpu.checkpoint import write_checkpoint
from tests.perf.gpu.measure import machine, row_of
from tests.perf.gpu.server import Server, serving
from tests.perf.gpu.toggle import WITHOUT

THROUGHPUT = Path(__file__).with_name("throughput.json")
MODEL = "Qwen3-8B"
FLAGS = [
    "--served-model-name",
    MODEL,
    "--reasoning-parser",
    "qwen3",
    "--no-enable-prefix-caching",  # the second of two equal rounds would find the prompts of the first
    "--disable-uvicorn-access-log",
    "--middleware",
    "tests.perf.gpu.toggle.Toggle",
]


@dataclass(frozen=True)
class Shape:
    requests: int
    concurrency: int
    output_tokens: int
    rounds: int


SHAPES = (
    Shape(requests=256, concurrency=64, output_tokens=128, rounds=7),
    Shape(requests=256, concurrency=256, output_tokens=128, rounds=5),
    Shape(requests=1, concurrency=1, output_tokens=256, rounds=7),
)


async def answer(client: aiohttp.ClientSession, url: str, prompt: str, tokens: int, *, wrapped: bool) -> bytes:
    """The whole event stream of one request."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {} if wrapped else dict([WITHOUT])
    async with client.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        response.raise_for_status()
        return await response.read()


def checked(stream: bytes, tokens: int, *, wrapped: bool) -> int:
    """Completion tokens of one stream; every chunk of reasoning has the old field exactly when wrapped."""
    chunks = [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    reasoning = [delta for delta in deltas if delta.get("reasoning")]
    assert reasoning, "no reasoning in the stream"
    assert all((delta.get("reasoning_content") == delta["reasoning"]) is wrapped for delta in reasoning)
    completion: int = chunks[-1]["usage"]["completion_tokens"]
    assert completion == tokens, chunks[-1]["usage"]
    return completion


async def a_round(client: aiohttp.ClientSession, url: str, shape: Shape, *, wrapped: bool) -> float:
    """Completion tokens a second of all requests of a shape."""
    source = random.Random(7)  # the same prompts in every round
    prompts = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz ", k=600)) for _ in range(shape.requests)]
    gate = asyncio.Semaphore(shape.concurrency)

    async def one(prompt: str) -> bytes:
        async with gate:
            return await answer(client, url, prompt, shape.output_tokens, wrapped=wrapped)

    begin = time.perf_counter()
    streams = await asyncio.gather(*(one(prompt) for prompt in prompts))
    seconds = time.perf_counter() - begin
    return sum(checked(stream, shape.output_tokens, wrapped=wrapped) for stream in streams) / seconds


async def compare(server: Server) -> list[dict[str, Any]]:
    """Rounds in turns, a warm-up of each first."""
    results = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as client:
        for shape in SHAPES:
            rates: dict[bool, list[float]] = {False: [], True: []}
            for number in range(shape.rounds + 1):
                for wrapped in (False, True) if number % 2 else (True, False):
                    rate = await a_round(client, server.url, shape, wrapped=wrapped)
                    if number:
                        rates[wrapped].append(round(rate, 1))
            row = {
                "requests": shape.requests,
                "concurrency": shape.concurrency,
                "output_tokens": shape.output_tokens,
                "without_tokens_per_s": statistics.median(rates[False]),
                "with_tokens_per_s": statistics.median(rates[True]),
                "without_rounds": rates[False],
                "with_rounds": rates[True],
            }
            results.append(row)
            print(json.dumps(row), flush=True)
    return results


def main() -> None:
    """Serve, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=THROUGHPUT)
    parser.add_argument("--logs", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model, log = Path(scratch) / "model", (arguments.logs or Path(scratch)) / "throughput.log"
        write_checkpoint(model, SERVING.facts)
        environment = {"VLLM_CACHE_ROOT": str(Path(scratch) / "cache")}
        with serving(model, [*SERVING.flags, *FLAGS], log, environment=environment) as server:
            if not server.ready:
                raise SystemExit(f"the server did not start: {log.read_text()[-3000:]}")
            shapes = asyncio.run(compare(server))
        document = machine() | {"case": SERVING.name, "start": row_of(log), "shapes": shapes}
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What the server's middleware adds to a request: side by side with the bare application, in the same process.

python -m tests.perf.middleware   (a minute; exit code 1 above the threshold of figures.yaml)

Each request has a body in two parts and a streamed answer of CHUNKS chunks, in the midst of WAITING others in flight,
among which liveness looks for the oldest. Rounds of both take turns; the figures are of all rounds together.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from qwen3_in_engine.server.asgi import Message
from qwen3_in_engine.server.contract import Config
from qwen3_in_engine.server.middleware import ServerMiddleware
from qwen3_in_engine.server.requests import Request

REQUESTS, CHUNKS, WAITING, ROUNDS = 2_000, 100, 256, 9
FIGURES = Path(__file__).parent / "figures.yaml"
SCOPE = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
BODY: list[Message] = [
    {"type": "http.request", "body": b'{"model":', "more_body": True},
    {"type": "http.request", "body": b'"m"}', "more_body": False},
]


async def vllm(scope: Any, receive: Any, send: Any) -> None:
    """Stands for vLLM: reads the request and streams an answer."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def send(message: Message) -> None:
    """The socket's side."""
    del message


async def round_of(target: Any) -> list[float]:
    """CPU seconds of each request: others on this machine count for nothing."""
    took = []
    for _ in range(REQUESTS):
        parts = iter(BODY)

        async def receive(parts: Any = parts) -> Message:
            found: Message = next(parts)
            return found

        begin = time.thread_time()
        await target(SCOPE, receive, send)
        took.append(time.thread_time() - begin)
    return took


async def measure() -> dict[str, dict[str, float]]:
    """CPU microseconds of a request: bare, wrapped, and what is added, at the median and at p99."""
    wrapped = ServerMiddleware(vllm, Config(verify=None, folder="/nonexistent"))
    wrapped._like = dict(SCOPE)  # as after the first probe, without the tasks that it starts
    requests = wrapped._requests
    for _ in range(WAITING):
        other = Request(requests, send, send)
        other.since = requests.now()
        requests.in_flight.add(other)
    times: dict[str, list[float]] = {"bare": [], "wrapped": []}
    for _ in range(ROUNDS):
        times["bare"] += await round_of(vllm)
        times["wrapped"] += await round_of(wrapped)
    looks = []
    for _ in range(1000):
        begin = time.thread_time()
        requests.silent_seconds()
        looks.append(time.thread_time() - begin)
    found = {name: _microseconds(values) for name, values in times.items()}
    found["added"] = {key: round(found["wrapped"][key] - found["bare"][key], 1) for key in ("p50", "p99")}
    found["a look of liveness"] = _microseconds(looks)
    return found


def _microseconds(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(1e6 * statistics.median(seconds), 1), "p99": round(1e6 * cuts[98], 1)}


def main() -> int:
    """Print the figures; 1 where more is added than figures.yaml allows."""
    found = asyncio.run(measure())
    print(yaml.safe_dump(found, sort_keys=False), end="")
    most = yaml.safe_load(FIGURES.read_text())["most_added_microseconds"]
    over = {key: value for key, value in most.items() if found["added"][key] > value}
    print(f"over the threshold: {over}" if over else f"within the threshold: {most}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

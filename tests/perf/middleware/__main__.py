"""What the server's middleware adds to a request: side by side with the bare application, in the same process.

python -m tests.perf.middleware   (two minutes; exit code 1 above the threshold of figures.yaml)

Each request has a body in two parts and a streamed answer of CHUNKS chunks, in the midst of WAITING others in flight,
among which liveness finds the oldest. `guarded`: the same with KEYS keys and limits of every kind, as one of the
teams, its line in the log included. Rounds of all take turns; the figures are of all rounds together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from qwen3_in_engine.server.asgi import Message
from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE, Config
from qwen3_in_engine.server.gate import Gate, gate_of
from qwen3_in_engine.server.middleware import ServerMiddleware
from qwen3_in_engine.server.requests import Request

REQUESTS, CHUNKS, WAITING, ROUNDS, KEYS = 2_000, 100, 256, 9, 500
FIGURES = Path(__file__).parent / "figures.yaml"
SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer sesame-250"), (b"content-length", b"13")],
}
USAGE = SimpleNamespace(prompt_tokens=100, completion_tokens=CHUNKS)
CHUNK = b'data: {"id":"chat","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
BODY: list[Message] = [
    {"type": "http.request", "body": b'{"model":', "more_body": True},
    {"type": "http.request", "body": b'"m"}', "more_body": False},
]


async def vllm(scope: Any, receive: Any, send: Any) -> None:
    """Stands for vLLM: reads the request, streams an answer, and reports its usage."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    scope["state"]["request_metadata"] = SimpleNamespace(request_id="chat", final_usage_info=USAGE)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def receive() -> Message:
    """The socket's side."""
    return BODY[-1]


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

        scope = {**SCOPE, "state": {}}
        begin = time.thread_time()
        await target(scope, receive, send)
        took.append(time.thread_time() - begin)
    return took


def middleware(gate: Gate | None) -> ServerMiddleware:
    """One in the midst of other requests."""
    wrapped = ServerMiddleware(vllm, Config(verify=None, folder="/nonexistent"), gate)
    wrapped._like = dict(SCOPE)  # as after the first probe, without the tasks that it starts
    requests = wrapped._requests
    for _ in range(WAITING):
        other = Request(requests, receive, send)
        other.since = requests.now()
        requests.in_flight.add(other)
    return wrapped


def gate_in(folder: Path) -> Gate:
    """A gate with many teams, and limits that none of them reaches."""
    (folder / "keys").mkdir()
    for i in range(KEYS):
        (folder / "keys" / f"team-{i}").write_text(f"sesame-{i}")
    much = {"requestsPerMinute": 2**31 - 1, "tokensPerMinute": 2**31 - 1, "maxConcurrent": 2**31 - 1}
    (folder / "limits.json").write_text(json.dumps({"default": much}))
    gate = gate_of({KEYS_VARIABLE: str(folder / "keys"), LIMITS_VARIABLE: str(folder / "limits.json")})
    assert gate is not None
    return gate


async def measure(folder: Path) -> dict[str, dict[str, float]]:
    """CPU microseconds of a request: bare, wrapped, guarded, and what is added, at the median and at p99."""
    wrapped, guarded = middleware(None), middleware(gate_in(folder))
    targets: dict[str, Any] = {"bare": vllm, "wrapped": wrapped, "guarded": guarded}
    times: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            times[name] += await round_of(target)
    polls = []
    for _ in range(1000):
        begin = time.thread_time()
        wrapped._requests.silent_seconds()
        polls.append(time.thread_time() - begin)
    found = {name: _microseconds(values) for name, values in times.items()}
    for name, key in (("wrapped", "added"), ("guarded", "added with keys")):
        found[key] = {cut: round(found[name][cut] - found["bare"][cut], 1) for cut in ("p50", "p99")}
    found["a look of liveness"] = _microseconds(polls)
    return found


def _microseconds(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(1e6 * statistics.median(seconds), 1), "p99": round(1e6 * cuts[98], 1)}


def main() -> int:
    """Print the figures; 1 where more is added than figures.yaml allows."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(folder, "log").open("w") as log,
        contextlib.redirect_stderr(log),
    ):
        found = asyncio.run(measure(Path(folder)))
    print(yaml.safe_dump(found, sort_keys=False), end="")
    figures = yaml.safe_load(FIGURES.read_text())
    over = []
    for added, allowed in (
        ("added", "most_added_microseconds"),
        ("added with keys", "most_added_with_keys_microseconds"),
    ):
        most = figures[allowed]
        over += [f"{added} {key}: more than {value}" for key, value in most.items() if found[added][key] > value]
        print(f"{added}: at most {most}")
    print("; ".join(over) or "within the thresholds")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

"""The measurement as the middleware sees it: what makes a server wait before it is ready, once, and not for ever.

Whatever fails here is said in the log and keeps no server from its users.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qwen3_in_engine.capacity.contract import (
    FAILURE,
    LINE,
    LONGEST_WORDS,
    MEASURES,
    MOST_BYTES,
    VARIABLE,
    Benchmark,
    Result,
    Step,
    knows,
)
from qwen3_in_engine.capacity.sweep import ended_by
from qwen3_in_engine.capacity.turn import Turn
from qwen3_in_engine.server.asgi import Scope, engine_of
from qwen3_in_engine.server.log import log

CLIENT = (sys.executable, "-m", "qwen3_in_engine.capacity.client")
ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2
SAY_SECONDS = 300.0
"""The result is logged again so often until it is mounted, for who reads only the end of the log."""
WAIT_SECONDS = 30.0
"""For the process that measures, beyond the time that it has."""
TAIL_BYTES = 8192
"""What is kept of the client's last words."""


def measurement_of(environment: Mapping[str, str], folder: Path) -> Measurement | None:
    """What a server is to measure; None: nothing. `folder`: of the container's own. Raises ValueError."""
    text = environment.get(VARIABLE)
    return Measurement(Benchmark.from_text(text), Turn(folder)) if text else None


class Measurement:
    """Of one API server process."""

    def __init__(self, benchmark: Benchmark, turn: Turn, client: Sequence[str] = CLIENT) -> None:
        self._benchmark, self._turn, self._client = benchmark, turn, client
        self._key = b""
        self.settled = False
        """Whether the server may get users."""
        self.running = False
        """Whether requests of the measurement come, and nobody else's."""

    def asks(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request is the measurement's own."""
        if not self.running or not self._key:
            return False
        return any(name == b"authorization" and hmac.compare_digest(value, self._key) for name, value in headers)

    async def run(self, like: Scope, ends: Callable[[], bool]) -> None:
        """Measure, where nobody has yet. `like`: the scope of any request; `ends`: whether the server is to stop."""
        result = None
        try:
            result = await self._run(like, ends)
        except Exception as error:
            log(f"its capacity was not measured: {error!r}"[: 2 * LONGEST_WORDS])
        self.settled, self.running = True, False
        while result is not None and not self._known(result.gpu):
            log(f"{LINE} {json.dumps(result.as_json())}")
            await asyncio.sleep(SAY_SECONDS)

    async def _run(self, like: Scope, ends: Callable[[], bool]) -> Result | None:
        gpu = await asyncio.get_running_loop().run_in_executor(None, gpu_name)
        if self._known(gpu):
            log("its capacity is known: it was measured by a server before")
            return None
        mine = self._turn.take()
        self._key = f"Bearer {self._turn.key()}".encode()
        self.running = True
        with no_access_log():
            if not mine:
                await self._wait(ends)
                return None
            try:
                return await self._measure(like, gpu, ends)
            finally:
                self._turn.end()

    def _known(self, gpu: str) -> bool:
        try:
            with Path(self._benchmark.file).open("rb") as file:
                return knows(file.read(MOST_BYTES), self._benchmark.key, gpu)
        except OSError:  # nothing is mounted yet
            return False

    async def _wait(self, ends: Callable[[], bool]) -> None:
        until = time.monotonic() + self._benchmark.max_seconds + WAIT_SECONDS
        while not self._turn.is_over and not ends() and time.monotonic() < until:  # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_SECONDS)

    async def _measure(self, like: Scope, gpu: str, ends: Callable[[], bool]) -> Result | None:
        it, started, steps, error = self._benchmark, time.monotonic(), list[Step](), ""
        most = batch_of(engine_of(like)) or it.most
        log(f"{MEASURES}: {it.input_tokens} + {it.output_tokens} tokens, at most {it.max_seconds} s")
        try:
            async for step in self._steps(base_url(like), most, started + it.max_seconds, ends):
                steps.append(step)
                log(f"{step.concurrency} at the same time: {step.tokens_per_second} tokens/s, p95 of the first token"
                    f" {step.ttft_milliseconds} ms")  # fmt: skip
        except Exception as failure:
            error = " ".join(str(failure).split())[-LONGEST_WORDS:] or repr(failure)
            log(f"its benchmark failed: {error}")
        if ends():
            return None
        if not steps and not error:
            error = f"not one step was over within {it.max_seconds} s"
        return Result(
            key=it.key,
            gpu=gpu,
            at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),  # noqa: UP017 - Python 3.10 has no UTC
            input_tokens=it.input_tokens,
            output_tokens=it.output_tokens,
            target_milliseconds=it.ttft_milliseconds,
            seconds=round(time.monotonic() - started),
            ended_by=FAILURE if error else ended_by(steps, it.ttft_milliseconds, most),
            steps=tuple(steps),
            error=error,
        )

    async def _steps(self, url: str, most: int, until: float, ends: Callable[[], bool]) -> AsyncIterator[Step]:
        """Steps as the client reports them. Raises ValueError where it fails; `until` it is left without a word."""
        process = await asyncio.create_subprocess_exec(
            *self._client,
            url,
            str(most),
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        words = asyncio.create_task(_tail(process.stderr))
        try:
            line = asyncio.create_task(process.stdout.readline())
            while time.monotonic() < until and not ends():
                if not (await asyncio.wait({line}, timeout=POLL_SECONDS))[0]:
                    continue
                if not (said := line.result()):
                    break
                yield Step(**json.loads(said))
                line = asyncio.create_task(process.stdout.readline())
            else:
                return
            if await process.wait():
                raise ValueError(self._without_key(await words) or f"exit code {process.returncode}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for task in (line, words):
                task.cancel()
            await process.wait()

    def _environment(self) -> dict[str, str]:
        """Of the client. Keys are in no argument: anybody in the pod sees those."""
        ours = os.environ.get("VLLM_API_KEY") or self._turn.key()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # It asks this very pod: a proxy of the cluster's has no part in it.
        alone = dict.fromkeys(("NO_PROXY", "no_proxy"), "*")
        return {**os.environ, **alone, "PYTHONPATH": path, "OPENAI_API_KEY": ours, VARIABLE: self._benchmark.as_text()}

    def _without_key(self, words: str) -> str:
        for key in filter(None, (os.environ.get("VLLM_API_KEY"), self._turn.key())):
            words = words.replace(key, "…")
        return words


@contextmanager
def no_access_log() -> Iterator[None]:
    """Thousands of lines about our own requests would push what the start has said out of the log's end."""
    log_of_requests = logging.getLogger("uvicorn.access")
    before, log_of_requests.disabled = log_of_requests.disabled, True
    try:
        yield
    finally:
        log_of_requests.disabled = before


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last words that are more than blanks."""
    kept = b""
    while part := await stream.read(TAIL_BYTES):
        kept = (kept + part)[-TAIL_BYTES:]
    lines = [line for line in kept.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def base_url(like: Scope) -> str:
    """Where the server listens, as the request came that we have seen."""
    host, port = like["server"]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def batch_of(engine: Any) -> int:
    """Requests that the engine computes at a time; 0 where it does not say."""
    most = getattr(getattr(getattr(engine, "vllm_config", None), "scheduler_config", None), "max_num_seqs", 0)
    return most if isinstance(most, int) else 0


def gpu_name() -> str:
    """As vLLM calls it; empty where it does not say."""
    try:
        from vllm.platforms import current_platform

        return str(current_platform.get_device_name())[:64]
    except Exception:
        return ""

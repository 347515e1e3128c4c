"""Our one middleware in vLLM's API server: probes, verification before the first user, drain, and who gets in."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3_in_engine.server.adapters import Adapters
from qwen3_in_engine.server.asgi import App, Receive, Scope, Send, engine_of, models_of, respond, server_of
from qwen3_in_engine.server.ask import ask
from qwen3_in_engine.server.contract import (
    EXIT_WRONG_ANSWERS,
    LIVE_PATH,
    READY_PATH,
    STARTED_PATH,
    WRONG_ANSWERS,
    Config,
)
from qwen3_in_engine.server.drain import RETRY_SECONDS, Drain
from qwen3_in_engine.server.gate import Gate
from qwen3_in_engine.server.liveness import Liveness
from qwen3_in_engine.server.log import log
from qwen3_in_engine.server.reasoning_content import ReasoningContentMiddleware
from qwen3_in_engine.server.requests import GENERATING, Request, Requests
from qwen3_in_engine.verify.answer import Answer
from qwen3_in_engine.verify.checks import WrongAnswer, verify

if TYPE_CHECKING:  # mounted only where a server is to measure itself
    from qwen3_in_engine.capacity.measurement import Measurement

TERMINATION_LOG = Path("/dev/termination-log")
LONGEST_MESSAGE = 2000
"""Characters of a termination message; Kubernetes keeps 4 KiB."""
METRICS_PATH = "/metrics"
POLL_SECONDS = 0.2
PROBE_WAITS = 5.0
"""Seconds for which the start-up probe waits for the verification: the start is not a period longer for it."""


class ServerMiddleware:
    """Wraps vLLM's application. `gate`: asks each user for a key; what the server asks itself goes past it. `adapters`:
    those that it is to serve beside its model. `measurement`: of its capacity, before it is ready."""

    def __init__(
        self,
        app: App,
        config: Config,
        gate: Gate | None = None,
        adapters: Adapters | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        self._gate, self._adapters, self._measurement = gate, adapters, measurement
        self._app: App = ReasoningContentMiddleware(app) if config.reasoning_content else app
        self._config = config
        self._requests = Requests()
        self._liveness = Liveness(self._requests, config.stall_seconds)
        settle, limit = config.settle_seconds, config.drain_seconds
        self._drain = Drain(self._requests, settle, limit, pid=os.getpid(), folder=Path(config.folder))
        self._verified = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._like: Scope = {}
        """Scope of a request that came: it knows the application, and so engine and server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        if not self._like:
            self._begin(scope)
        path = scope["path"]
        if path in (STARTED_PATH, LIVE_PATH, READY_PATH):
            await self._probe(path, send)
        elif self._drain.over:
            await _refuse(send)
        elif path == METRICS_PATH and self._measurement is not None and self._measurement.running:
            # An autoscaler would take the load of the measurement for that of users.
            await respond(send, 200, "")
        else:
            send = self._drain.closing(send) if self._drain.draining else send
            await (self._user if self._gate is None else self._guarded)(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A websocket, or the word that the server begins or ends."""
        if self._gate is not None and scope["type"] == "websocket":
            await self._gate(scope, receive, send, self._app)
        else:
            await self._app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._gate is not None
        if self._measurement is not None and self._measurement.asks(scope["headers"]):
            await self._user(scope, receive, send)
        else:
            await self._gate(scope, receive, send, self._user)

    async def _user(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or not scope["path"].endswith(GENERATING):
            await self._app(scope, receive, send)
            return
        request = Request(self._requests, receive, send)
        self._requests.in_flight.add(request)
        try:
            await self._app(scope, request.receive, request.send)
        finally:
            self._requests.in_flight.discard(request)

    def _begin(self, scope: Scope) -> None:
        """With the first request, mostly a probe: before it nothing is known of engine and server."""
        self._like = {key: value for key, value in scope.items() if key != "extensions"}
        self._run(self._drain.watch(lambda: server_of(self._like), self._fault))
        self._run(self._start())

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self) -> None:
        if self._config.verify is not None:
            started = time.monotonic()
            try:
                report = await verify(self._config.verify, self._ask)
            except WrongAnswer as error:
                _end(str(error))
            except Exception as error:  # ours: no reason to keep a server from its users
                log(f"not verified: {error!r}")
            else:
                log(f"verified in {time.monotonic() - started:.1f} s: {report.words()}")
        self._verified.set()
        if self._adapters is not None:
            self._run(self._adapters.watch(lambda: models_of(self._like)))
        if self._measurement is not None:
            self._run(self._measure(self._measurement))
        await self._liveness.watch(engine_of(self._like))

    async def _measure(self, measurement: Measurement) -> None:
        """The last of what comes before the first user: nothing else runs beside it."""
        while self._adapters is not None and not self._adapters.settled:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(POLL_SECONDS)
        await measurement.run(self._like, lambda: self._drain.draining)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        return await ask(self._app, self._like, method, path, body)

    async def _probe(self, path: str, send: Send) -> None:
        if path == STARTED_PATH:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._verified.wait(), PROBE_WAITS)
        wrong = self._fault() if path != STARTED_PATH else ""
        if path != LIVE_PATH and not self._verified.is_set():
            wrong = "its answers are being verified"
        if path == READY_PATH and not wrong and self._adapters is not None and not self._adapters.settled:
            wrong = "its adapters are being loaded"
        if path == READY_PATH and not wrong and self._measurement is not None and not self._measurement.settled:
            wrong = "its capacity is being measured"
        if wrong and path == LIVE_PATH:
            log(f"not live: {wrong}")
        await respond(send, 503 if wrong else 200, wrong or "ok")

    def _fault(self) -> str:
        return self._liveness.fault(engine_of(self._like))


async def _refuse(send: Send) -> None:
    error = {"message": "this server is ending: ask again", "type": "ServiceUnavailable", "code": 503}
    headers = [("retry-after", str(RETRY_SECONDS)), ("connection", "close")]
    await respond(send, 503, json.dumps({"error": error}), "application/json", headers)


def _end(message: str, leave: Callable[[int], Any] = os._exit) -> None:
    """End the process: no user shall get such answers. The operator reads the termination message."""
    words = f"{WRONG_ANSWERS}: {message}"[:LONGEST_MESSAGE]
    log(words)
    with suppress(OSError):
        if TERMINATION_LOG.exists():  # the kubelet makes it
            TERMINATION_LOG.write_text(words, encoding="utf-8")
    leave(EXIT_WRONG_ANSWERS)

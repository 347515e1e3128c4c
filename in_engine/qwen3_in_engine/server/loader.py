"""The class that vLLM loads. A server without our middleware is worth more than none: it starts, and says so.

One that has to ask for keys is not: without the middleware everybody would get in, so it ends.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    from qwen3_in_engine.server.contract import (
        BENCHMARK_VARIABLE,
        EXIT_KEYS_UNUSABLE,
        KEYS_UNUSABLE,
        KEYS_VARIABLE,
        LIVE_PATH,
        NOT_LOADED,
        READY_PATH,
        STARTED_PATH,
    )

    PROBES = (STARTED_PATH, LIVE_PATH, READY_PATH)
except Exception as error:  # an older Python, half a mount: whatever it is, it is said
    PROBES = ("/qwen3/startedz", "/qwen3/livez", "/qwen3/readyz")
    NOT_LOADED = "qwen3: the middleware is not loaded:"
    KEYS_VARIABLE, KEYS_UNUSABLE, EXIT_KEYS_UNUSABLE = "QWEN3_KEYS", "KeysUnusable", 87
    BENCHMARK_VARIABLE = "QWEN3_BENCHMARK"
    print(f"{NOT_LOADED} {error!r}", file=sys.stderr, flush=True)

TERMINATION_LOG = "/dev/termination-log"


class Middleware:
    """The middleware; where it cannot be made, one that only lets the probes ask vLLM's own `/health`."""

    def __init__(self, app: Any) -> None:
        try:
            from qwen3_in_engine.server.adapters import adapters_of
            from qwen3_in_engine.server.contract import VARIABLE, Config
            from qwen3_in_engine.server.gate import gate_of
            from qwen3_in_engine.server.middleware import ServerMiddleware

            config = Config.from_text(os.environ.get(VARIABLE, ""))
            self._serve: Any = ServerMiddleware(
                app, config, gate_of(os.environ), adapters_of(os.environ), _measurement(config.folder)
            )
        except Exception as error:
            if os.environ.get(KEYS_VARIABLE):
                _end(error)
            print(f"{NOT_LOADED} {error!r}", file=sys.stderr, flush=True)
            self._serve = _OnlyHealth(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        await self._serve(scope, receive, send)


def _measurement(folder: str) -> Any:
    """What the server is to measure before it is ready. None, and a line, where that cannot be: it serves anyway."""
    if not os.environ.get(BENCHMARK_VARIABLE):
        return None
    try:
        from qwen3_in_engine.capacity.measurement import measurement_of

        return measurement_of(os.environ, Path(folder))
    except Exception as error:
        print(f"qwen3: its capacity was not measured: {error!r}", file=sys.stderr, flush=True)
        return None


def _end(error: Exception) -> None:
    """End the process before it listens. Nothing of ours is called: it may be what is broken."""
    words = f"{KEYS_UNUSABLE}: {error if type(error).__name__ == 'NoKeys' else repr(error)}"[:2000]
    print(f"qwen3: {words}", file=sys.stderr, flush=True)
    with suppress(OSError):
        if os.path.exists(TERMINATION_LOG):  # noqa: PTH110 - the kubelet makes it
            with open(TERMINATION_LOG, "w", encoding="utf-8") as log:  # noqa: PTH123
                log.write(words)
    os._exit(EXIT_KEYS_UNUSABLE)


class _OnlyHealth:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope.get("path") in PROBES:
            scope = {**scope, "path": "/health", "raw_path": b"/health"}
        await self._app(scope, receive, send)

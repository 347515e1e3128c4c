"""The class that vLLM loads. A server without our middleware is worth more than none: it starts, and says so."""

from __future__ import annotations

import os
import sys
from typing import Any

try:
    from qwen3_in_engine.server.contract import LIVE_PATH, NOT_LOADED, READY_PATH, STARTED_PATH

    PROBES = (STARTED_PATH, LIVE_PATH, READY_PATH)
except Exception as error:  # an older Python, half a mount: whatever it is, the server starts
    PROBES = ("/qwen3/startedz", "/qwen3/livez", "/qwen3/readyz")
    NOT_LOADED = "qwen3: the middleware is not loaded:"
    print(f"{NOT_LOADED} {error!r}", file=sys.stderr, flush=True)


class Middleware:
    """The middleware; where it cannot be made, one that only lets the probes ask vLLM's own `/health`."""

    def __init__(self, app: Any) -> None:
        try:
            from qwen3_in_engine.server.contract import VARIABLE, Config
            from qwen3_in_engine.server.middleware import ServerMiddleware

            self._serve: Any = ServerMiddleware(app, Config.from_text(os.environ.get(VARIABLE, "")))
        except Exception as error:
            print(f"{NOT_LOADED} {error!r}", file=sys.stderr, flush=True)
            self._serve = _OnlyHealth(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        await self._serve(scope, receive, send)


class _OnlyHealth:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope.get("path") in PROBES:
            scope = {**scope, "path": "/health", "raw_path": b"/health"}
        await self._app(scope, receive, send)

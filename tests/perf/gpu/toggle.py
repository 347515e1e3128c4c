"""The middleware under test, or none of it for requests that ask so: both from one server, in turns."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from qwen3_in_engine.server.asgi import App, Receive, Send
from qwen3_in_engine.server.reasoning_content import ReasoningContentMiddleware

WITHOUT = ("x-without-middleware", "1")


class Toggle:
    """ASGI middleware for `--middleware`."""

    def __init__(self, app: App) -> None:
        self._without = app
        self._with = ReasoningContentMiddleware(app)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        header = (WITHOUT[0].encode(), WITHOUT[1].encode())
        app = self._without if header in scope.get("headers", ()) else self._with
        await app(scope, receive, send)

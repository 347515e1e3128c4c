"""The types of ASGI, and small answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def respond(
    send: Send, status: int, body: str, kind: str = "text/plain", headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send a whole response."""
    content = body.encode()
    all_headers = [("content-type", kind), ("content-length", str(len(content))), *headers]
    encoded = [(name.encode(), value.encode()) for name, value in all_headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


def engine_of(scope: Scope) -> Any:
    """vLLM's client of its engine; None where this is no vLLM that we know."""
    return getattr(getattr(scope.get("app"), "state", None), "engine_client", None)


def models_of(scope: Scope) -> Any:
    """vLLM's handler of the models that it serves; None where this is no vLLM that we know."""
    return getattr(getattr(scope.get("app"), "state", None), "openai_serving_models", None)


def server_of(scope: Scope) -> Any:
    """The uvicorn server; None where it is not known."""
    return getattr(getattr(scope.get("app"), "state", None), "server", None)

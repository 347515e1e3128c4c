"""What the front says itself: errors in OpenAI's form, and comments and errors in streams of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from qwen3_front.contract import Notice

DONE = b"data: [DONE]\n\n"
SHORT_RETRY, LONG_RETRY = 5, 30
"""Seconds after which a client may try again: where it is crowded, and where nobody will come."""
_TYPES = {400: "BadRequestError", 408: "RequestTimeout", 413: "RequestEntityTooLarge", 429: "TooManyRequests"}
MOST_ERROR = 64 << 10
"""Bytes of a server's error that are passed on in a stream."""


def error(status: int, message: str, *, retry_after: int | None = None) -> web.Response:
    """An answer with an error. The connection ends with it: the next request is to find a server."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    answer = web.Response(status=status, text=json.dumps(_error(status, message)), headers=headers)
    answer.content_type = "application/json"
    answer.force_close()
    return answer


def error_event(status: int, message: str) -> bytes:
    """The same in a stream that has begun, as vLLM does it."""
    return _event(_error(status, message)) + DONE


def passed_on(status: int, body: bytes) -> bytes:
    """A server's error in a stream that has begun."""
    try:
        said = json.loads(body)
        if isinstance(said, Mapping) and isinstance(said.get("error"), Mapping | str):
            return _event(said) + DONE
        if isinstance(said, Mapping) and "message" in said:  # vLLM's older form
            return _event({"error": said}) + DONE
    except (ValueError, RecursionError):
        pass
    words = body[:1000].decode(errors="replace").strip() or "the server gave no reason"
    return error_event(status, words)


def comment(notice: Notice, waited: float, before: int, now: float) -> bytes:
    """A line for people in a stream that waits. Clients skip comments."""
    said = [f"waiting for a server for {waited:.0f} s"]
    if notice.why:
        said.append(notice.why)
    if (left := seconds_left(notice, now)) is not None:
        said.append(f"about {left:.0f} s left" if left > 0 else "longer than the last time")
    if before:
        said.append(f"{before} before you")
    return f": {'; '.join(said)}\n\n".encode()


def seconds_left(notice: Notice, now: float) -> float | None:
    """How long the start will take still, by the last one; None where that is not known."""
    if notice.usual_seconds is None:
        return None
    return notice.usual_seconds if notice.started is None else notice.started + notice.usual_seconds - now


def _error(status: int, message: str) -> dict[str, Any]:
    kind = _TYPES.get(status, "ServiceUnavailableError" if status == 503 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def _event(said: Any) -> bytes:
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"

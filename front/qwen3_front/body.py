"""The body of a request: read within bounds, and kept until a server answers."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web
from pydantic_core import from_json

from qwen3_front.line import Place

READ_SECONDS = 60.0
"""A body that did not come by then never does."""
STREAMED_PATHS = ("/v1/chat/completions", "/v1/completions")
"""Where an answer is a stream of OpenAI's chunks: errors have a known form in it."""
_SAYS_STREAM = re.compile(rb'"stream"\s*:\s*true')


class TooLarge(Exception):
    """The body is larger than any may be."""


async def read(request: web.BaseRequest, place: Place, most: int) -> bytes:
    """The whole body. Raises TooLarge, Full, and TimeoutError for one that does not come."""
    if (request.content_length or 0) > most:
        raise TooLarge
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    parts, size = [], 0
    async with asyncio.timeout(READ_SECONDS):
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > most:
                raise TooLarge
            place.grow(len(chunk))
            parts.append(chunk)
    return b"".join(parts)


def asks_for_stream(method: str, path: str, body: bytes) -> bool:
    """Whether the client expects a stream of chunks."""
    if method != "POST" or path not in STREAMED_PATHS or not _SAYS_STREAM.search(body):
        return False
    try:  # the words may stand deeper in it
        said = from_json(body)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("stream") is True

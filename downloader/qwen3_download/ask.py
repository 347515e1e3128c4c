"""A hub's plain answer to a plain question, over the engine of the transfer.

The hub's client takes a third of a second to import, which is more than the question itself: it is asked only where
the answer is none of these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import pycurl

from qwen3_download.fetch import Network, address

TRUNCATED = 3000
"""Entries of a listing from which on the hub may have left some out; the client knows how to get them."""
_MOST_BYTES = 32 * 1024 * 1024
_MOST_SECONDS = 60


class Asker:
    """A connection to the hub, for a `with`. `headers` go to the hub alone: no redirect is followed."""

    def __init__(self, network: Network, headers: Mapping[str, str]) -> None:
        self._network = network
        self._headers = headers
        self._curl = pycurl.Curl()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self._curl.close()

    def entries(self, url: str) -> list[Mapping[str, Any]] | None:
        """The entries of a listing; None for any answer but a whole one."""
        body = self._body(url)
        try:
            content = json.loads(body) if body else None
        except (ValueError, RecursionError):
            return None
        data = content.get("Data") if isinstance(content, dict) and content.get("Success") is True else None
        files = data.get("Files") if isinstance(data, dict) else None
        if not isinstance(files, list) or not 0 < len(files) < TRUNCATED:
            return None
        return files if all(isinstance(entry, dict) for entry in files) else None

    def _body(self, url: str) -> bytes:
        """What comes with status 200, else nothing."""
        body = bytearray()

        def take(data: bytes) -> int | None:
            body.extend(data)
            return -1 if len(body) > _MOST_BYTES else None

        address(self._curl, self._network, url, {"Accept": "application/json", **self._headers})
        self._curl.setopt(pycurl.ACCEPT_ENCODING, "gzip")
        self._curl.setopt(pycurl.TIMEOUT, _MOST_SECONDS)
        self._curl.setopt(pycurl.WRITEFUNCTION, take)
        try:
            self._curl.perform()
        except pycurl.error:
            return b""
        return bytes(body) if self._curl.getinfo(pycurl.RESPONSE_CODE) == 200 else b""

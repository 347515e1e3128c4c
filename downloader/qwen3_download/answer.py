"""One HTTP answer as it arrives: checked against what was asked before a byte is kept, then written in large parts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from qwen3_download.partial import Writer

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_HOLD_SECONDS = 0.05  # what counts as received must follow what arrives: the number of connections is judged by it
_LEFT_BEHIND_SECONDS = 4.0
_LEFT_BEHIND_BYTES = 16 * 1024 * 1024


class Kind(Enum):
    """What went wrong with one request."""

    NETWORK = auto()  # no answer, or one that broke off: go on from the byte
    STATUS = auto()  # the server refused
    WRONG_FILE = auto()  # an answer, but not this file: other size or bytes than asked for
    WEB_PAGE = auto()  # somebody between us and the hub: a log-in page of the network
    RANGE_IGNORED = auto()  # the whole file instead of the range
    STOPPED = auto()


class FetchError(Exception):
    """One request failed. `retry_after` in seconds where the server says so; `address`: who was asked last, after
    redirects."""

    def __init__(
        self, kind: Kind, message: str, status: int = 0, retry_after: float | None = None, address: str = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.address = address

    def __reduce__(self) -> tuple[Any, ...]:
        """It comes from the process of its connection."""
        return type(self), (self.kind, str(self), self.status, self.retry_after, self.address)


class Answer:
    """Takes libcurl's callbacks for bytes [start, end) of a file.

    `written` is called with the bytes of each write; `moved` gives the bytes of all connections together.
    """

    def __init__(
        self,
        file: Writer,
        start: int,
        end: int,
        skip: bool,
        buffer: memoryview,
        written: Callable[[int], None],
        moved: Callable[[], int],
        stopped: Callable[[], bool],
    ) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._skip_allowed = skip
        self._buffer = buffer
        self._written = written
        self._moved = moved
        self._received, self._received_at = 0.0, time.monotonic()
        self._moved_then: int | None = None  # bytes of all connections when this one fell silent
        self._stopped = stopped
        self._headers: dict[str, str] = {}
        self._error_body = b""
        self._failure: BaseException | None = None
        self._to_skip = -1  # unknown before the headers are checked
        self._at = start  # the next byte to write
        self._held = 0  # bytes in the buffer
        self._room = 0  # bytes that the buffer can take before something has to be done
        self._flushed_at = time.monotonic()
        self.status = 0

    @property
    def redirects(self) -> bool:
        return self.status in (301, 302, 303, 307, 308)

    def header(self, line: bytes) -> None:
        """libcurl's header callback: one line; a status line begins a new answer (after a proxy's, for example)."""
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self._headers.clear()
            fields = text.split()
            self.status = (_number(fields[1]) or 0) if len(fields) > 1 else 0
        elif ":" in text:
            name, _, value = text.partition(":")
            self._headers[name.strip().lower()] = value.strip()

    def body(self, data: bytes) -> int | None:
        """libcurl's write callback, once for every TLS record: the common case must be short."""
        size, held = len(data), self._held
        if size < self._room:
            self._buffer[held : held + size] = data
            self._held = held + size
            self._room -= size
            return None
        try:
            return self._take(memoryview(data))
        except BaseException as failure:  # libcurl must not see it: kept, and raised by finish()
            self._failure = failure
            return -1

    def idle(self, _total: float, received: float, *_upload: float) -> bool:
        """libcurl's progress callback, at least once a second: True ends the transfer."""
        now = time.monotonic()
        if received != self._received:
            self._received, self._received_at, self._moved_then = received, now, None
        elif self._moved_then is None:
            self._moved_then = self._moved()
        elif now - self._received_at > _LEFT_BEHIND_SECONDS and self._moved() - self._moved_then > _LEFT_BEHIND_BYTES:
            # The link is well, this connection is not: long before it would count as stalled.
            self._failure = FetchError(Kind.NETWORK, "silent while other connections move")
            return True
        if self._held and now - self._flushed_at > _HOLD_SECONDS:
            try:
                self.flush()
            except BaseException as failure:
                self._failure = failure
                return True
        return self._stopped()

    def flush(self) -> None:
        """Write what is held. Raises Failure when the disk is full."""
        held, self._held = self._held, 0
        self._flushed_at = time.monotonic()
        if held:
            self._file.write(self._at, self._buffer[:held])
            self._at += held
            self._written(held)
            self._room = min(len(self._buffer), self._end - self._at)

    def broken(self, message: str) -> None:
        """libcurl ended with an error; our own reason wins, and a complete range is no failure."""
        if self._failure is None and self._at + self._held < self._end:
            self._failure = FetchError(Kind.STOPPED if self._stopped() else Kind.NETWORK, message)

    def finish(self) -> None:
        """Return when every byte of the range was written, else raise FetchError or what a write raised."""
        if self._failure:
            raise self._failure
        if self.status == 416:
            raise FetchError(
                Kind.WRONG_FILE, f"the hub's file ends before byte {self._start}, its listing says otherwise"
            )
        if self.status not in (200, 206):
            raise FetchError(Kind.STATUS, self._refusal(), self.status, self._retry_after())
        if self._to_skip < 0:
            self._check_headers()
        if self._at < self._end:
            text = f"the answer ended at byte {self._at}, {self._end - self._at} too early"
            raise FetchError(Kind.NETWORK, text)

    def _take(self, data: memoryview) -> int | None:
        if self.status not in (200, 206):
            self._error_body += bytes(data[: max(0, 4096 - len(self._error_body))])
            return None
        if self._to_skip < 0:
            self._to_skip = self._check_headers()
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        data = data[skipped:]
        while len(data) and self._at + self._held < self._end:
            part = data[: min(len(self._buffer) - self._held, self._end - self._at - self._held)]
            self._buffer[self._held : self._held + len(part)] = part
            self._held += len(part)
            data = data[len(part) :]
            if self._held == len(self._buffer) or self._at + self._held == self._end:
                self.flush()
        self._room = 0 if self._to_skip else min(len(self._buffer), self._end - self._at) - self._held
        return -1 if len(data) or self._stopped() else None  # more than was asked for: hang up

    def _check_headers(self) -> int:
        """Bytes to skip before the range begins. Raises FetchError where the answer is not this file's range."""
        size = self._file.size
        encoding = self._headers.get("content-encoding", "identity").lower()
        if encoding != "identity" and not self._skip_allowed:
            raise FetchError(Kind.WRONG_FILE, f"the answer is encoded ({encoding}), which was not asked for")
        match = _CONTENT_RANGE.fullmatch(self._headers.get("content-range", ""))
        length = self._headers.get("content-length", "")
        if match:  # with 206, and from ModelScope with 200 too
            first, total = int(match[1]), int(match[3]) if match[3] != "*" else size
        else:
            said = _number(length) if encoding == "identity" else None
            first, total = 0, size if said is None else said
        if total != size:
            if "text/html" in self._headers.get("content-type", ""):
                raise FetchError(Kind.WEB_PAGE, "a web page came instead of the file; is a proxy in between?")
            raise FetchError(Kind.WRONG_FILE, f"the hub sends {total} bytes where its listing says {size}")
        if first == self._start:
            return 0
        if match:
            raise FetchError(Kind.WRONG_FILE, f"asked for byte {self._start}, got byte {first}")
        if self._skip_allowed:
            return self._start
        raise FetchError(Kind.RANGE_IGNORED, "the hub ignored the range")

    def _refusal(self) -> str:
        text = " ".join(self._error_body.decode("utf-8", "replace").split())[:200]
        return f"HTTP {self.status} {text}".strip()

    def _retry_after(self) -> float | None:
        value = self._headers.get("retry-after", "")
        return float(value) if value.isdecimal() else None


def _number(text: str) -> int | None:
    """None for what is none, and what is too long to be a size."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None

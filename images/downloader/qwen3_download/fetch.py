"""One connection: ranged GETs over libcurl, checked against what was asked before a byte is kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pycurl
from requests.utils import get_environ_proxies, select_proxy

from qwen3_download.hub import user_agent
from qwen3_download.partial import PartialFile

MAX_REDIRECTS = 10
FLUSH_BYTES = 1024 * 1024
FLUSH_SECONDS = 1.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Kind(Enum):
    """What went wrong with one request."""

    NETWORK = auto()  # no answer, or one that broke off: go on from the byte
    STATUS = auto()  # the server refused
    WRONG_FILE = auto()  # an answer, but not this file: other size, a web page
    RANGE_IGNORED = auto()  # the whole file instead of the range
    STOPPED = auto()


class FetchError(Exception):
    """One request failed. `retry_after` in seconds where the server says so."""

    def __init__(self, kind: Kind, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Network:
    """How connections are made. `stall_seconds`: below 1 KiB/s for so long, a connection is given up."""

    ca: str
    stall_seconds: int = 30
    connect_seconds: int = 15
    take: Callable[[int], None] | None = None  # the bandwidth limit; may sleep

    @staticmethod
    def trusted_authorities(environment: Mapping[str, str]) -> str:
        """The CA file or folder that `requests` uses as well."""
        return environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE") or certifi.where()


class Connection:
    """A keep-alive curl handle for one thread. `received` counts body bytes that were kept."""

    def __init__(self, network: Network, stopped: threading.Event) -> None:
        self._network = network
        self._stopped = stopped
        self._curl = pycurl.Curl()
        self.received = 0

    def close(self) -> None:
        self._curl.close()

    def get(
        self, url: str, headers: Mapping[str, str], file: PartialFile, start: int, end: int, skip: bool = False
    ) -> str:
        """Write bytes [start, end) of the file and return the address that had them, after redirects.

        `headers` go to `url`'s own origin only. With `skip`, an answer with the whole file is read up to `start` and
        thrown away. Raises FetchError; what had arrived by then is written. Raises Failure when the disk is full.
        """
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            mine = dict(headers) if _origin(url) == origin else {}
            answer = _Answer(file, start, end, skip, self)
            self._request(url, mine, f"{start}-{end - 1}", answer)
            if answer.status not in (301, 302, 303, 307, 308):
                answer.finish()
                return url
            location: str = self._curl.getinfo(pycurl.REDIRECT_URL)
            if not location:
                raise FetchError(Kind.STATUS, f"HTTP {answer.status} without a Location", answer.status)
            url = location
        raise FetchError(Kind.STATUS, f"redirected more than {MAX_REDIRECTS} times", 310)

    def _request(self, url: str, headers: Mapping[str, str], byte_range: str, answer: _Answer) -> None:
        curl = self._curl
        curl.reset()  # keeps connections and sessions
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # ranges want connections of their own
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.BUFFERSIZE, 512 * 1024)
        curl.setopt(pycurl.CONNECTTIMEOUT, self._network.connect_seconds)
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1024)
        curl.setopt(pycurl.LOW_SPEED_TIME, self._network.stall_seconds)
        curl.setopt(pycurl.CAPATH if Path(self._network.ca).is_dir() else pycurl.CAINFO, self._network.ca)
        curl.setopt(pycurl.PROXY, select_proxy(url, get_environ_proxies(url)) or "")
        curl.setopt(pycurl.NOPROXY, "")  # decided above, by the same rules as the client's
        curl.setopt(pycurl.RANGE, byte_range)
        sent = {"User-Agent": user_agent(), "Accept-Encoding": "identity", **headers}
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in sent.items()])
        curl.setopt(pycurl.HEADERFUNCTION, answer.header)
        curl.setopt(pycurl.WRITEFUNCTION, answer.body)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_: self._stopped.is_set())
        try:
            curl.perform()
        except pycurl.error as error:
            answer.broken(int(error.args[0]), str(error.args[1]))
        finally:
            answer.flush()

    def keep(self, n: int) -> None:
        """Count `n` bytes and hold the bandwidth limit."""
        self.received += n
        if self._network.take:
            self._network.take(n)

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()


class _Answer:
    """One response as it arrives."""

    def __init__(self, file: PartialFile, start: int, end: int, skip: bool, connection: Connection) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._skip_allowed = skip
        self._connection = connection
        self._headers: dict[str, str] = {}
        self._error_body = b""
        self._pieces: list[bytes] = []
        self._held = 0
        self._flushed_at = time.monotonic()
        self._failure: BaseException | None = None
        self._to_skip = -1  # unknown until the first byte of the body
        self.at = start
        self.status = 0

    def header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self._headers.clear()
            fields = text.split()
            self.status = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
        elif ":" in text:
            name, _, value = text.partition(":")
            self._headers[name.strip().lower()] = value.strip()

    def body(self, data: bytes) -> int | None:
        try:
            return self._take(data)
        except BaseException as failure:  # libcurl must not see it: kept, and raised by finish()
            self._failure = failure
            return -1

    def _take(self, data: bytes) -> int | None:
        if self.status not in (200, 206):
            self._error_body += data[: max(0, 4096 - len(self._error_body))]
            return None
        if self._connection.stopping:
            return -1
        if self._to_skip < 0:
            self._to_skip = self._check_headers()
        size = len(data)
        if self._to_skip:
            dropped = min(self._to_skip, len(data))
            self._to_skip -= dropped
            data = data[dropped:]
        data = data[: self._end - self.at]
        if data:
            self._pieces.append(data)
            self._held += len(data)
            self.at += len(data)
            self._connection.keep(len(data))
            if self._held >= FLUSH_BYTES or time.monotonic() - self._flushed_at > FLUSH_SECONDS:
                self.flush()
        return -1 if self.at == self._end and len(data) < size and not self._to_skip else None

    def flush(self) -> None:
        """Hand over what is held; keeps a failure of the disk for finish()."""
        self._flushed_at = time.monotonic()
        if not self._pieces:
            return
        pieces, held = self._pieces, self._held
        self._pieces, self._held = [], 0
        try:
            self._file.write(self.at - held, pieces)
        except BaseException as failure:
            self._failure = self._failure or failure

    def broken(self, code: int, message: str) -> None:
        """libcurl ended with an error; our own reason wins."""
        if self._failure is None and self.at < self._end:
            stopped = code in (pycurl.E_ABORTED_BY_CALLBACK, pycurl.E_WRITE_ERROR) and self._connection.stopping
            self._failure = FetchError(Kind.STOPPED if stopped else Kind.NETWORK, message)

    def finish(self) -> None:
        """Raise what went wrong; return when every byte of the range was written."""
        if self._failure:
            raise self._failure
        if self.status not in (200, 206):
            raise FetchError(Kind.STATUS, self._refusal(), self.status, self._retry_after())
        if self._to_skip < 0 and self._end > self._start:
            self._check_headers()
        if self.at < self._end:
            raise FetchError(Kind.NETWORK, f"the answer ended at byte {self.at}, {self._end - self.at} too early")

    def _check_headers(self) -> int:
        """Bytes to skip before the range begins. Raises FetchError where the answer is not this file's range."""
        size = self._file.size
        match = _CONTENT_RANGE.fullmatch(self._headers.get("content-range", ""))
        length = self._headers.get("content-length", "")
        if match:  # with 206, and from ModelScope with 200 too
            first, total = int(match[1]), int(match[3]) if match[3] != "*" else size
        else:
            first, total = 0, int(length) if length.isdigit() else size
        if total != size:
            page = " (a web page)" if "text/html" in self._headers.get("content-type", "") else ""
            raise FetchError(Kind.WRONG_FILE, f"the hub sends {total} bytes{page} where its listing says {size}")
        if match and first == self._start:
            return 0
        if first == 0 and self._start == 0:
            return 0
        if first == 0 and not match and self._skip_allowed:
            return self._start
        if match:
            raise FetchError(Kind.WRONG_FILE, f"asked for byte {self._start}, got byte {first}")
        raise FetchError(Kind.RANGE_IGNORED, "the hub ignored the range")

    def _refusal(self) -> str:
        text = " ".join(self._error_body.decode("utf-8", "replace").split())[:200]
        return f"HTTP {self.status} {text}".strip()

    def _retry_after(self) -> float | None:
        value = self._headers.get("retry-after", "")
        return float(value) if value.isdigit() else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port

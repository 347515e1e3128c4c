"""One connection: ranged GETs over libcurl, with redirects, proxies and the stall watchdog."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pycurl

from qwen3_download import __version__
from qwen3_download.answer import Answer, FetchError, Kind
from qwen3_download.local import CERTIFICATES
from qwen3_download.partial import Writer

MAX_REDIRECTS = 10
_LARGEST_CALL = 256 * 1024  # of the write callback


@dataclass(frozen=True)
class Network:
    """How connections are made. `stall_seconds`: below 1 KiB/s for so long, a connection is given up.

    `take` is the bandwidth limit: called with the bytes of each write, it may sleep.
    """

    ca: str
    stall_seconds: int = 30
    connect_seconds: int = 15
    write_bytes: int = 1024 * 1024
    take: Callable[[int], None] | None = None

    @staticmethod
    def trusted_authorities(environment: Mapping[str, str]) -> str:
        """The CA file or folder that `requests` uses as well."""
        return next((environment[name] for name in CERTIFICATES if environment.get(name)), "") or certifi.where()


class Connection:
    """A keep-alive curl handle for one thread.

    `received` is called with the bytes that were written, `moved` gives those of all connections, `stopped` ends a
    request within a second.
    """

    def __init__(
        self,
        network: Network,
        received: Callable[[int], None],
        moved: Callable[[], int],
        stopped: Callable[[], bool],
    ) -> None:
        self._network = network
        self._received = received
        self._moved = moved
        self._stopped = stopped
        self._curl = pycurl.Curl()
        self._buffer = memoryview(bytearray(network.write_bytes))  # one for all requests: new memory costs page faults

    def get(self, url: str, headers: Mapping[str, str], file: Writer, start: int, end: int, skip: bool = False) -> str:
        """Write bytes [start, end) of the file and return the address that had them, after redirects.

        `headers` go to `url`'s own origin only. With `skip` the whole file is asked for, which even those understand
        that spoil ranges, and what is before `start` is thrown away. Raises FetchError; what had arrived by then is
        written. Raises Failure when the disk is full.
        """
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = Answer(file, start, end, skip, self._buffer, self._written, self._moved, self._stopped)
            byte_range = None if skip else f"{start}-{end - 1}"
            self._request(url, headers if _origin(url) == origin else {}, byte_range, answer)
            if not answer.redirects:
                try:
                    answer.finish()
                except FetchError as error:
                    error.address = url
                    raise
                return url
            url = self._redirected()
            if not url:
                raise FetchError(
                    Kind.STATUS, f"HTTP {answer.status} without a Location that is an address", answer.status
                )
        raise FetchError(Kind.STATUS, f"redirected more than {MAX_REDIRECTS} times", answer.status)

    def _redirected(self) -> str:
        """Where the answer sends to; empty where that is no address."""
        try:
            url = str(self._curl.getinfo(pycurl.REDIRECT_URL) or "")
            _origin(url)
        except ValueError:
            return ""
        return url

    def _request(self, url: str, headers: Mapping[str, str], byte_range: str | None, answer: Answer) -> None:
        curl = self._curl
        address(curl, self._network, url, {"Accept-Encoding": "identity", **headers})
        curl.setopt(pycurl.BUFFERSIZE, _LARGEST_CALL)
        if byte_range is None:
            curl.setopt(pycurl.ACCEPT_ENCODING, "")  # decode what a proxy encodes unasked; the hash decides
        else:
            curl.setopt(pycurl.RANGE, byte_range)
        curl.setopt(pycurl.HEADERFUNCTION, answer.header)
        curl.setopt(pycurl.WRITEFUNCTION, answer.body)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, answer.idle)
        try:
            curl.perform()
        except pycurl.error as error:
            answer.broken(str(error.args[1]))
        finally:
            answer.flush()

    def _written(self, n: int) -> None:
        self._received(n)
        if self._network.take:
            self._network.take(n)


def address(curl: pycurl.Curl, network: Network, url: str, headers: Mapping[str, str]) -> None:
    """Make a handle ready to ask for `url`; it keeps its connections and sessions."""
    curl.reset()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # ranges want connections of their own
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.CONNECTTIMEOUT, network.connect_seconds)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1024)
    curl.setopt(pycurl.LOW_SPEED_TIME, network.stall_seconds)
    curl.setopt(pycurl.CAPATH if Path(network.ca).is_dir() else pycurl.CAINFO, network.ca)
    curl.setopt(pycurl.PROXY, _proxy(url))
    curl.setopt(pycurl.NOPROXY, "")  # decided above, by the same rules as the client's
    sent = {"User-Agent": f"qwen3-download/{__version__}", **headers}
    curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in sent.items()])


def _proxy(url: str) -> str:
    """The proxy on the way to `url`, "" where there is none: what the client's library says, which takes 0.05 s to
    import and has nothing to say where no proxy is set (NO_PROXY alone is none)."""
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ):
        return ""
    from requests.utils import get_environ_proxies, select_proxy

    return str(select_proxy(url, get_environ_proxies(url)) or "")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port

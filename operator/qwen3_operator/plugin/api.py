"""Questions to the API server, through the socket of `kubectl proxy`. Nothing is ever written."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from qwen3_operator.api import GROUP
from qwen3_operator.controller.kinds import PODS, Kind
from qwen3_operator.plugin.failure import Failure

Object = dict[str, Any]
T = TypeVar("T")

SECONDS = 20.0
"""One answer of the API server takes no longer."""
MOST_BYTES = 64 * 2**20
PAGE = 500
MOST = 2000
"""Objects of a list, where the caller does not say."""
LOG_BYTES = 256 * 1024
AT_ONCE = 6


class ApiFailure(Failure):
    """The API server's word: a Failure that a command may live with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def forbidden(self) -> bool:
        """Whether this user is not allowed to."""
        return self.status == 403


@dataclass(frozen=True)
class Listing:
    """Objects, and whether there are more."""

    items: list[Object]
    more: bool = False


class Api:
    """One API server. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._date = ""

    @property
    def now(self) -> datetime:
        """The time by the API server's own clock where it has said it: ages are counted from that."""
        try:
            return parsedate_to_datetime(self._date)
        except ValueError:
            return datetime.now(UTC)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """A JSON answer. Raises ApiFailure."""
        return _object(self._ask("GET", path, query))

    def post(self, path: str, body: Object) -> Object:
        """A question that is put by POST: a review of access. Raises ApiFailure."""
        return _object(self._ask("POST", path, None, body))

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object; None where there is none. Raises ApiFailure."""
        try:
            return self.get(kind.path(namespace, name))
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", most: int = MOST
    ) -> Listing:
        """The first `most` objects. Raises ApiFailure."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(min(most, PAGE))}
        items: list[Object] = []
        while True:
            try:
                page = self.get(kind.path(namespace), query)
            except ApiFailure as failure:
                if failure.status == 404 and kind.api_version.startswith(GROUP):
                    raise _not_served(kind) from failure
                raise
            items += page.get("items") or ()
            query["continue"] = str((page.get("metadata") or {}).get("continue") or "")
            if len(items) >= most or not query["continue"]:
                of_kind = {"apiVersion": kind.api_version, "kind": kind.kind}
                return Listing([of_kind | item for item in items[:most]], bool(query["continue"]) or len(items) > most)

    def log(
        self, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False, limit: int = LOG_BYTES
    ) -> str:
        """The last lines of a container's log, of these at most `limit` bytes. Raises ApiFailure."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(limit)}
        query |= {"previous": "true"} if previous else {}
        return self._ask("GET", PODS.path(namespace, pod, "log"), query).decode(errors="replace")

    def text(self, path: str) -> str:
        """An answer that is text. Raises ApiFailure."""
        return self._ask("GET", path, None).decode(errors="replace")

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None, body: Object | None = None) -> bytes:
        words = urlencode({key: value for key, value in (query or {}).items() if value})
        sent = json.dumps(body).encode() if body is not None else None
        connection = _Connection(self._path)
        try:
            headers = {"Accept": "application/json, */*"} | ({"Content-Type": "application/json"} if sent else {})
            connection.request(method, f"{path}?{words}" if words else path, sent, headers)
            answer = connection.getresponse()
            data = answer.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ApiFailure(0, _unreachable(error)) from error
        finally:
            connection.close()
        self._date = answer.headers.get("Date", self._date)
        if len(data) > MOST_BYTES:
            raise ApiFailure(0, f"the answer to {path} is larger than {MOST_BYTES >> 20} MiB")
        if answer.status >= 400:
            raise _failure(answer.status, data)
        return data


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)  # the name that kubectl's proxy accepts
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def together(*calls: Callable[[], T]) -> list[T]:
    """What the calls return, asked at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def allowed(call: Callable[[], T], otherwise: T, what: str, notes: list[str]) -> T:
    """What the call returns; `otherwise`, and a note, where this user may not see it."""
    try:
        return call()
    except ApiFailure as failure:
        if not failure.forbidden:
            raise
        notes.append(f"{what}: not shown, you may not read them here")
        return otherwise


def _object(data: bytes) -> Object:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiFailure(0, f"what answered is no API server: {data[:200].decode(errors='replace')!r}") from error
    if not isinstance(value, dict):
        raise ApiFailure(0, "what answered is no API server")
    return value


def _failure(status: int, data: bytes) -> ApiFailure:
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        message = data[:500].decode(errors="replace").strip()
        if status >= 500:  # kubectl's own words, which found nobody
            return ApiFailure(0, f"the cluster cannot be reached: {message}")
    return ApiFailure(status, message or f"the API server answered {status}")


def _unreachable(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the API server did not answer within {SECONDS:g} s"
    return f"the cluster cannot be reached: {error}"


def _not_served(kind: Kind) -> Failure:
    return Failure(
        f"this cluster does not serve {kind.plural}.{GROUP}: the operator's CRDs are not installed"
        " (kubectl qwen3 doctor looks further)"
    )

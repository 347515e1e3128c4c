"""The operator's requests, counted from the API server's audit log (which has nobody else's)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic_core import from_json

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class Request(NamedTuple):
    """One request that the API server answered; `at` in seconds since 1970."""

    at: float
    verb: str
    resource: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        """Whether it could change something."""
        return self.verb in WRITES


class AuditLog:
    """The requests so far, Leases and watches apart. Each line is read once, so asking often costs little."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._requests: list[Request] = []

    def requests(self) -> list[Request]:
        """All requests so far, in the order of their answers."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._requests += [request for line in whole.splitlines() if (request := _request(from_json(line)))]
        return self._requests


def reads_and_writes(requests: Iterable[Request]) -> tuple[int, int]:
    """How many requests only read, and how many write."""
    writes = [request.writes for request in requests]
    return writes.count(False), writes.count(True)


def by_kind(requests: Iterable[Request]) -> Counter[str]:
    """How many requests of each verb and resource, the most first."""
    return Counter(dict(Counter(f"{request.verb} {request.resource}" for request in requests).most_common()))


def _request(entry: dict[str, object]) -> Request | None:
    what = entry.get("objectRef")
    if not isinstance(what, dict) or what.get("resource") in (None, "leases") or entry["verb"] == "watch":
        return None
    at = datetime.fromisoformat(str(entry["requestReceivedTimestamp"])).timestamp()
    resource = "/".join([what["resource"], *([what["subresource"]] if "subresource" in what else [])])
    answer = entry.get("responseStatus")
    code = int(answer.get("code", 0)) if isinstance(answer, dict) else 0
    return Request(at, str(entry["verb"]), resource, what.get("name", ""), code)

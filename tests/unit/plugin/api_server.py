"""An API server on a Unix socket, as `kubectl proxy` shows one: it lists, gets and reviews what it was given."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.plugin.recorded import NOW

from qwen3_operator.api.crd import crds
from qwen3_operator.controller.kinds import LEASES, NODES, SECRETS, STORAGE_CLASSES
from qwen3_operator.plugin.bundle import CHILDREN
from qwen3_operator.plugin.names import KINDS
from qwen3_operator.plugin.status import EVENTS

Object = dict[str, Any]
ALL = (*KINDS, *CHILDREN, EVENTS, LEASES, NODES, SECRETS, STORAGE_CLASSES)
Answer = tuple[int, Object | str]


class ApiServer:
    """`allows(verb, resource, namespace)` says what the user may do; `asked` has every path that was asked for."""

    def __init__(self, objects: Iterable[Object] = (), logs: dict[str, str] | None = None) -> None:
        self.objects, self.logs = list(objects), logs or {}
        self.now: datetime = NOW
        self.allows: Callable[[str, str, str], bool] = lambda verb, resource, namespace: True
        self.reviews: Callable[[Object], bool] = lambda spec: True
        self.serves = True
        self.asked: list[str] = []

    def answer(self, method: str, target: str, body: Object | None) -> Answer:
        """Status and body."""
        url = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.asked.append(target)
        if url.path == "/version":
            return 200, {"gitVersion": "v1.36.3"}
        if url.path.startswith("/openapi/v3/"):
            return 200, _published()
        if url.path == f"/apis/{KINDS[0].api_version}":
            return (200, {"resources": [{"name": k.plural} for k in KINDS]}) if self.serves else _no(404, "not found")
        if method == "POST":
            assert body is not None
            whose = body["kind"]
            if whose == "SubjectAccessReview" and not self.allows("create", "subjectaccessreviews", ""):
                return _no(403, "subjectaccessreviews is forbidden")
            return 201, {"status": {"allowed": self.reviews(body["spec"])}}
        return self._read(url.path, query)

    def _read(self, path: str, query: dict[str, str]) -> Answer:
        for kind in ALL:
            parts = path.removeprefix(kind.path(None).rpartition("/")[0]).strip("/").split("/")
            namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
            rest = parts[2:] if namespace else parts
            if rest[0] != kind.plural or not path.startswith(kind.path(None).rpartition("/")[0] + "/"):
                continue
            if kind in KINDS and not self.serves:
                return _no(404, "the server could not find the requested resource")
            sub = f"{kind.plural}/{rest[2]}" if len(rest) > 2 else kind.plural
            if not self.allows("list" if len(rest) == 1 else "get", sub, namespace):
                return _no(403, f'{sub} is forbidden: User "jane" cannot read resource "{sub}" in "{namespace}"')
            of = [o for o in self.objects if o["kind"] == kind.kind]
            of = [o for o in of if namespace in ("", o["metadata"].get("namespace", ""))]
            if len(rest) == 1:
                return 200, _page([o for o in of if _matches(o, query)], query)
            name = rest[1].partition(":")[0]  # of a proxied pod, before its port
            found = next((o for o in of if o["metadata"]["name"] == name), None)
            if found is None:
                return _no(404, f'{kind.plural} "{rest[1]}" not found')
            if len(rest) > 2:
                return 200, self.logs.get(rest[1], "")[: int(query.get("limitBytes", "1000000"))]
            return 200, found
        return _no(404, f"nobody answers {path}")


def _no(status: int, message: str) -> Answer:
    return status, {"kind": "Status", "message": message, "reason": "Refused"}


def _page(found: list[Object], query: dict[str, str]) -> Object:
    start, limit = int(query.get("continue", "0")), int(query.get("limit", "500"))
    more = {"continue": str(start + limit)} if len(found) > start + limit else {}
    return {"metadata": more, "items": found[start : start + limit]}


def _matches(obj: Object, query: dict[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = pair.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        found: Any = obj
        for key in path.split("."):
            found = (found or {}).get(key)
        if found != value:
            return False
    return True


def _published() -> Object:
    schemas = {
        f"dev.qwen3.serving.v1alpha1.{crd['spec']['names']['kind']}": crd["spec"]["versions"][0]["schema"][
            "openAPIV3Schema"
        ]
        for crd in crds()
    }
    return {"components": {"schemas": schemas}}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def serve(server: ApiServer, path: Path) -> _Server:
    """Serve on the socket at `path`, until `shutdown`."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, found = server.answer(self.command, self.path, body)
            data = (found if isinstance(found, str) else json.dumps(found)).encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(server.now.astimezone(UTC), usegmt=True))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if data:
                self.wfile.write(data)

        do_GET = do_POST = _do

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    it = _Server(str(path), Handler)
    threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return it

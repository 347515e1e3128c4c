"""The HTTP side: routes, token check, ranges, faults, limits, and a log of what was asked and sent."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub.delay import DelayLine
from hub.faults import Faults, Rule
from hub.rate import RateLimit
from hub.repository import RepoFile, Repositories, Tree

MODEL = re.compile(r"/(?:api/v1|openapi/v1)/models/([^/]+/[^/]+)(/repo/files|/repo|/revisions|)$")
PIECE = 1024 * 1024
LISTING_LIMIT = 3000  # the real hub truncates there; the client then asks folder by folder


@dataclass
class Settings:
    """How the hub behaves when nothing is wrong. Rates in bytes/s, 0: unlimited."""

    token: str = ""
    connection_rate: float = 0
    total_rate: float = 0
    redirect: bool = False
    range_status: int = 206  # 200: as modelscope.cn is reported to do, with Content-Range all the same
    rtt: float = 0  # seconds of a round trip: the address is a delay line's


@dataclass
class Hub:
    """State shared by all requests."""

    repositories: Repositories
    settings: Settings = field(default_factory=Settings)
    faults: Faults = field(default_factory=Faults)
    log: list[dict[str, Any]] = field(default_factory=list)
    cdn_base: str = ""

    def __post_init__(self) -> None:
        self.change({})

    def change(self, settings: dict[str, Any]) -> None:
        """Change fields of `settings` while the hub runs."""
        for key, value in settings.items():
            setattr(self.settings, key, value)
        self.total = RateLimit(self.settings.total_rate) if self.settings.total_rate else None


class HubServer(ThreadingHTTPServer):
    """A thread a connection. With `tls`, the handshake happens in that thread, not in accept."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hub: Hub, tls: ssl.SSLContext | None = None) -> None:
        self.hub = hub
        self.tls = tls
        super().__init__(address, Handler)
        host, self.port = address[0], int(self.server_address[1])
        if hub.settings.rtt:
            self.port = DelayLine(host, self.port, hub.settings.rtt).port
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what this server is for; anything else is a fault of its own."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError | TimeoutError):
            super().handle_error(request, client_address)


class Drop(Exception):
    """End this connection now."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubServer

    def setup(self) -> None:
        super().setup()
        rate = self.server.hub.settings.connection_rate
        self.limit = RateLimit(rate) if rate else None

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in `Hub.log` instead of being printed."""

    # routes

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        if path == "/healthz":
            self.send_json(200, {"ok": True})
        elif path == "/admin/log":
            self.send_json(200, self.server.hub.log)
        elif path == "/admin/faults":
            self.send_json(200, self.server.hub.faults.struck())
        elif path == "/api/v1/repos/internalAccelerationInfo":
            self.send_json(200, {"Code": 200, "Data": {"InternalRegionQueryAddress": ""}})
        elif path.startswith("/cdn/"):
            model, _, name = path[len("/cdn/") :].partition("//")
            self.serve_file(model, query.get("Revision", "master"), name)
        elif match := MODEL.match(path):
            if self.authorized():
                self.serve_model(match[1], match[2], query)
        else:
            self.send_error_json(404, f"no route {path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        hub = self.server.hub
        if self.path == "/admin/faults":
            hub.faults.add(Rule(**body))
        elif self.path == "/admin/settings":
            hub.change(body)
        else:
            self.send_error_json(404, f"no route {self.path}")
            return
        self.send_json(200, {"ok": True})

    def do_DELETE(self) -> None:
        hub = self.server.hub
        if self.path == "/admin/faults":
            hub.faults.clear()
        elif self.path == "/admin/log":
            hub.log.clear()
        else:
            self.send_error_json(404, f"no route {self.path}")
            return
        self.send_json(200, {"ok": True})

    def authorized(self) -> bool:
        token = self.server.hub.settings.token
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or given == token:
            return True
        if given:
            self.send_error_json(403, "access denied: the token is not accepted")
        else:
            self.send_error_json(401, "user not logged in")
        return False

    # answers

    def serve_model(self, model: str, route: str, query: dict[str, str]) -> None:
        if route == "/repo/files":
            self.serve_listing(model, query)
        elif route == "/revisions":
            self.serve_revisions(model)
        elif route == "/repo":
            self.serve_repo_file(model, query)
        elif self.server.hub.repositories.revisions(model):
            self.send_json(200, {"success": True, "Code": 200, "data": {"id": model}, "Data": {"Path": model}})
        else:
            self.send_error_json(404, f"Record not found: model {model}")

    def serve_listing(self, model: str, query: dict[str, str]) -> None:
        do = self.strike("listing", "")
        if self.answered(do):
            return
        tree = self.tree(model, query.get("Revision", "master"))
        if tree is None:
            return
        change = do.get("listing", {})
        if change.get("unsuccessful"):
            self.send_json(200, {"Code": 200, "Success": False, "Data": None})
            return
        files = listing(tree, query.get("Root", "").strip("/"), query.get("Recursive", "True") == "True")
        if change.get("empty"):
            files = []
        replace, remove = change.get("replace", {}), change.get("remove", [])
        files = [f | replace.get(f["Path"], {}) for f in files if f["Path"] not in remove]
        files = (files + change.get("add", []))[:LISTING_LIMIT]
        data = {"Files": files, "LatestCommitter": {"Id": tree.commit, "ShortId": tree.commit[:8]}}
        self.send_json(200, {"Code": 200, "Success": True, "Message": "success", "Data": data})

    def serve_revisions(self, model: str) -> None:
        if self.answered(self.strike("revisions", "")):
            return
        names = list(self.server.hub.repositories.revisions(model))
        if not names:
            self.send_error_json(404, f"Record not found: model {model}")
            return
        revisions = {
            "Branches": [{"Revision": n, "CreatedAt": 0} for n in names if n == "master"],
            "Tags": [{"Revision": n, "CreatedAt": 0} for n in names if n != "master"],
        }
        self.send_json(200, {"Code": 200, "Success": True, "Data": {"RevisionMap": revisions}})

    def serve_repo_file(self, model: str, query: dict[str, str]) -> None:
        revision, path = query.get("Revision", "master"), query.get("FilePath", "")
        hub = self.server.hub
        if hub.settings.redirect:
            self.redirect(f"{hub.cdn_base}/cdn/{quote(f'{model}//{path}')}?Revision={quote(revision)}")
        else:
            self.serve_file(model, revision, path)

    def serve_file(self, model: str, revision: str, path: str) -> None:
        do = self.strike("file", path)
        if self.answered(do):
            return
        file = self.server.hub.repositories.file(model, revision, path)
        if file:
            self.send_file(file, do)
        elif self.tree(model, revision):
            self.send_error_json(404, f"Record not found: file {path}")

    def tree(self, model: str, revision: str) -> Tree | None:
        repositories = self.server.hub.repositories
        tree = repositories.find(model, revision)
        if tree is None:
            what = f"revision {revision} of {model}" if repositories.revisions(model) else f"model {model}"
            self.send_error_json(404, f"Record not found: {what}")
        return tree

    # faults

    def strike(self, kind: str, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"kind": kind, "path": path, "range": self.headers.get("Range", ""), "sent": 0}
        entry |= {"authorization": "Authorization" in self.headers, "host": self.headers.get("Host", "")}
        self.entry = entry
        self.server.hub.log.append(entry)
        do = self.server.hub.faults.draw(kind, path)
        time.sleep(do.get("delay", 0))
        return do

    def answered(self, do: dict[str, Any]) -> bool:
        """Answer at once where the fault replaces the whole answer."""
        if do.get("redirectLoop"):
            self.redirect(self.path)
        elif "status" in do:
            body = do.get("body", {"Code": do["status"], "Message": "scripted fault", "Success": False})
            if isinstance(body, str):
                self.send_bytes(do["status"], body.encode(), "text/html", do.get("headers"))
            else:
                self.send_bytes(do["status"], json.dumps(body).encode(), "application/json", do.get("headers"))
        else:
            return False
        return True

    def redirect(self, location: str) -> None:
        self.send_bytes(302, b"", "text/plain", {"Location": location})

    # bytes

    def send_json(self, status: int, body: Any) -> None:
        self.send_bytes(status, json.dumps(body).encode(), "application/json")

    def send_error_json(self, status: int, message: str) -> None:
        self.send_json(status, {"Code": status, "Message": message, "RequestId": "hub", "Success": False})

    def send_bytes(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, file: RepoFile, do: dict[str, Any]) -> None:
        start, end, ranged = 0, file.size, False
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not do.get("ignoreRange"):
            start, ranged = int(asked[1]), True
            end = min(file.size, int(asked[2]) + 1) if asked[2] else file.size
            start += int(do.get("shiftRange", 0))
            if start >= file.size:
                self.send_bytes(416, b"", "text/plain", {"Content-Range": f"bytes */{file.size}"})
                return
        if do.get("gzip") or (ranged and do.get("spoilRange")):
            self.send_changed(file, start, end, ranged, do)
            return
        lie = int(do.get("lengthLie", 0))
        self.send_response(self.server.hub.settings.range_status if ranged else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start + lie))
        self.send_header("Accept-Ranges", "bytes")
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{end - 1 + lie}/{file.size + lie}")
        self.end_headers()
        try:
            with file.local.open("rb") as stream:
                self.send_body(stream.fileno(), start, end, do)
        except Drop:
            self.hang_up(reset=bool(do.get("reset")))
        if lie:
            self.hang_up()

    def send_changed(self, file: RepoFile, start: int, end: int, ranged: bool, do: dict[str, Any]) -> None:
        """As a proxy does that is no good."""
        with file.local.open("rb") as stream:
            stream.seek(start)
            body = stream.read(end - start)
        self.entry["sent"] += len(body)
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{file.size}"} if ranged else {}
        if ranged and do.get("spoilRange"):
            body = bytes(b ^ 0xFF for b in body)
        if do.get("gzip"):
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self.send_bytes(206 if ranged else 200, body, "application/octet-stream", headers)

    def send_body(self, fd: int, start: int, end: int, do: dict[str, Any]) -> None:
        """Send file bytes [start, end) at the speed of the limits, until a fault's byte is reached."""
        trickle = RateLimit(do["trickle"]) if "trickle" in do else None
        limits = [limit for limit in (self.limit, self.server.hub.total, trickle) if limit]
        piece = min([limit.piece() for limit in limits], default=PIECE)
        stops = sorted(n for n in (do.get("dropAt"), do.get("stallAt"), do.get("flipAt")) if n is not None)
        if "dropEvery" in do:
            stops = sorted([*stops, start + do["dropEvery"]])
        at = start
        while True:
            if at in (do.get("dropAt"), start + do.get("dropEvery", -1 - start)):
                raise Drop
            if at == do.get("stallAt"):
                time.sleep(do.get("seconds", 3600))
            if at >= end:
                return
            until = min([at + piece, end, *(n for n in stops if n > at)])
            if at == do.get("flipAt"):
                until = at + 1
                for limit in limits:
                    limit.take(1)
                self.wfile.write(bytes(b ^ 0xFF for b in os.pread(fd, 1, at)))
            else:
                for limit in limits:
                    limit.take(until - at)
                self.send_piece(fd, at, until)
            self.entry["sent"] += until - at
            at = until

    def send_piece(self, fd: int, at: int, until: int) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.sendall(os.pread(fd, until - at, at))
            return
        while at < until:
            at += os.sendfile(self.connection.fileno(), fd, at, until - at)

    def hang_up(self, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())


def listing(tree: Tree, root: str, recursive: bool) -> list[dict[str, Any]]:
    """The entries under `root` as the hub shows them: files, and the folders on the way."""
    entries: dict[str, dict[str, Any]] = {}
    prefix = f"{root}/" if root else ""
    for file in tree.files.values():
        if not file.path.startswith(prefix):
            continue
        parts = file.path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            folder = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries.setdefault(folder, {"Name": parts[depth - 1], "Path": folder, "Type": "tree", "Size": 0})
        if recursive or len(parts) == 1:
            entries[file.path] = {
                "Name": parts[-1],
                "Path": file.path,
                "Type": "blob",
                "Size": file.size,
                "Sha256": file.sha256,
                "Revision": tree.commit,
                "IsLFS": file.size > 1024 * 1024,
                "Mode": "33188",
                "CommittedDate": file.modified_ns // 10**9,
            }
    return list(entries.values())


def serve(hub: Hub, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> HubServer:
    """Start the hub in threads of this process; with `redirect`, a second port plays the CDN."""
    server = HubServer(address, hub, tls)
    threading.Thread(target=server.serve_forever, name="hub", daemon=True).start()
    if hub.settings.redirect:
        cdn = HubServer((address[0], 0), hub, tls)
        hub.cdn_base = cdn.url
        threading.Thread(target=cdn.serve_forever, name="cdn", daemon=True).start()
    return server

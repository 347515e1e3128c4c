"""A container registry as small as a push needs it (OCI distribution: blobs in one go, manifests by tag)."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Registry(ThreadingHTTPServer):
    """Keeps what it is given: `manifests` by "NAME:TAG", `blobs` by digest."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200 if urlsplit(self.path).path == "/v2/" else 404)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path.rpartition("/")[2] in self.server.blobs else 404)

    def do_POST(self) -> None:
        upload = str(uuid.uuid4())
        self.server.uploads[upload] = b""
        self._answer(202, Location=f"{urlsplit(self.path).path}{upload}")

    def do_PATCH(self) -> None:
        upload = urlsplit(self.path).path.rpartition("/")[2]
        self.server.uploads[upload] += self._body()
        self._answer(202, Location=self.path, Range=f"0-{len(self.server.uploads[upload]) - 1}")

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        name, _, last = parts.path.removeprefix("/v2/").rpartition("/")
        if name.endswith("/manifests"):
            self.server.manifests[f"{name.removesuffix('/manifests')}:{last}"] = body = self._body()
        else:
            body = self.server.uploads.pop(last) + self._body()
            (digest,) = parse_qs(parts.query)["digest"]
            self.server.blobs[digest] = body
        self._answer(201, **{"Docker-Content-Digest": f"sha256:{hashlib.sha256(body).hexdigest()}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry on plain HTTP, as long as the block lasts."""
    with Registry() as it:
        thread = threading.Thread(target=it.serve_forever, daemon=True)
        thread.start()
        try:
            yield it
        finally:
            it.shutdown()
            thread.join()

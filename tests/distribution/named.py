"""Programs reach a registry of this machine under the name that the documents have for it."""

from __future__ import annotations

import contextlib
import io
import socket
import socketserver
import threading
from collections.abc import Iterator

from devcluster.registry import Registry

NAME = "registry.example"
"""The registry of the documents."""


class _Proxy(socketserver.ThreadingTCPServer):
    """Answers CONNECT for one name by a connection to the registry, and refuses all others."""

    daemon_threads = True

    def __init__(self, name: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connect)
        self.target, self.port = f"{name}:443", port


class _Connect(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            pass
        if (method, target) != ("CONNECT", self.server.target):
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_pump, args=(upstream.makefile("rb"), self.connection), daemon=True)
            back.start()
            _pump(self.rfile, upstream)
            back.join()


def _pump(source: io.BufferedIOBase, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.read1(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def reached_as(name: str, registry: Registry) -> Iterator[dict[str, str]]:
    """The variables by which buildah, helm and other programs in Go go to `registry` for https://NAME, nowhere else.

    Addresses of this machine, like an API server's, they reach without a proxy.
    """
    assert registry.certificate
    with _Proxy(name, registry.port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{proxy.server_address[1]}"
        try:
            yield {"HTTPS_PROXY": url, "https_proxy": url, "SSL_CERT_FILE": str(registry.certificate), "NO_PROXY": ""}
        finally:
            proxy.shutdown()
            thread.join()

"""Servers of the OpenAI API in the place of simulated pods: each answers at its pod's address while the pod is there.

A pod that is being deleted goes on answering, and closes its connections, as our middleware has vLLM do.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cluster.api import Api
from tests.gateway.network import Network

PORT = 8000
PIECES, PIECE_SECONDS = 6, 0.05
"""Of a stream."""
WHOLE_SECONDS = 0.1
POLL_SECONDS = 0.2


class Servers:
    """One listener for all addresses of pods; whose address a connection came to says which server it is."""

    def __init__(self, network: Network, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._pods: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        """By pod."""
        self.refused = 0
        """Connections to a pod that is gone."""
        self._server = _Listener(("", PORT), _Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = network.listen("0.0.0.0", PORT)
        self._server.servers = self
        self._ended = threading.Event()
        for work in (self._server.serve_forever, self._observe):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def pod_at(self, address: str) -> dict[str, Any] | None:
        """The pod with this address, None where it is gone."""
        with self._lock:
            if address not in self._pods:
                self._refresh()  # a new one that nobody has asked for yet
            return self._pods.get(address)

    def count(self, pod: str) -> None:
        with self._lock:
            self.answered[pod] += 1

    def refuse(self) -> None:
        with self._lock:
            self.refused += 1

    def _observe(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            with self._lock, contextlib.suppress(Exception):
                self._refresh()

    def _refresh(self) -> None:
        pods = self._api.list("Pod", self._namespace)
        self._pods = {pod["status"]["podIP"]: pod for pod in pods if (pod.get("status") or {}).get("podIP")}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    servers: Servers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pod = self.server.servers.pod_at(self.connection.getsockname()[0])
        if pod is None:
            self.server.servers.refuse()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        meta = pod["metadata"]
        seen = {
            "model": meta["labels"]["serving.qwen3.dev/deployment"],
            "pod": meta["name"],
            "path": self.path,
            "key": self.headers.get("Authorization"),
            "team": self.headers.get("x-team"),
        }
        self.close_connection = bool(meta.get("deletionTimestamp"))
        if body.get("stream"):
            self._stream(seen)
        else:
            time.sleep(WHOLE_SECONDS)
            self._send(json.dumps(seen).encode())
        self.server.servers.count(meta["name"])

    def do_GET(self) -> None:
        self._send(json.dumps({"path": self.path}).encode())

    def _send(self, data: bytes) -> None:
        self._head("application/json", {"Content-Length": str(len(data))})
        self.wfile.write(data)

    def _stream(self, seen: dict[str, Any]) -> None:
        self._head("text/event-stream", {"Transfer-Encoding": "chunked"})
        for number in range(PIECES):
            self._piece(f"data: {json.dumps(seen | {'piece': number})}\n\n")
            time.sleep(PIECE_SECONDS)
        self._piece("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _piece(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def _head(self, kind: str, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass

"""Connections in other processes: what they answer, what they raise, and that they end."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from qwen3_download.answer import FetchError, Kind
from qwen3_download.errors import Failure, Reason
from qwen3_download.fetch import Network
from qwen3_download.listing import RemoteFile
from qwen3_download.partial import PartialFile
from qwen3_download.workers import Workers

CONTENT = b"0123456789"


class OneFile(BaseHTTPRequestHandler):
    """Ten bytes, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def file(tmp_path: Path) -> PartialFile:
    return PartialFile(RemoteFile("f", len(CONTENT), "a" * 64), tmp_path / "f", tmp_path / "f.state")


def test_bytes_arrive_and_are_counted_here(file: PartialFile) -> None:
    with HTTPServer(("127.0.0.1", 0), OneFile) as server, Workers(3, [file], Network(ca="")) as workers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        file.make()
        workers.hash(file, 0)
        hashed = workers.hashed()
        assert workers.connections[2].get(url, {}, file, 0, 10) == url
        assert next(hashed) == (file, hashlib.sha256(CONTENT).hexdigest())
        assert file.data.read_bytes() == CONTENT and file.missing() == []
        assert [connection.received for connection in workers.connections] == [0, 0, 10]
        assert workers.received == 10 and workers.cpu_seconds > 0
        server.shutdown()


def test_what_went_wrong_there_is_raised_here(file: PartialFile, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Workers(1, [file], Network(ca="")) as workers:
        file.make()
        with pytest.raises(FetchError) as error:
            workers.connections[0].get(f"http://127.0.0.1:{port}/", {}, file, 0, 10)
        assert error.value.kind is Kind.NETWORK
        (tmp_path / "f").unlink()
        with pytest.raises(Failure, match="cannot write"):
            workers.connections[0].get(f"http://127.0.0.1:{port}/", {}, file, 0, 10)


@pytest.mark.parametrize(("limited", "processes"), [(False, 3), (True, 1)])
def test_a_process_for_each_of_a_few_connections_and_one_that_keeps_a_limit(
    file: PartialFile, limited: bool, processes: int
) -> None:
    before = children()
    with Workers(3, [file], Network(ca="", take=(lambda n: None) if limited else None)):
        assert len(children() - before) == processes
    assert children() == before


def test_failures_travel_whole() -> None:
    error = pickle.loads(pickle.dumps(FetchError(Kind.STATUS, "busy", 503, 2.5)))
    assert (error.kind, str(error), error.status, error.retry_after) == (Kind.STATUS, "busy", 503, 2.5)
    failure = pickle.loads(pickle.dumps(Failure(Reason.DISK_FULL, "full", volumeBytes=7)))
    assert (failure.reason, str(failure), failure.facts, failure.exit_code) == (
        Reason.DISK_FULL,
        "full",
        {"volumeBytes": 7},
        12,
    )


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())

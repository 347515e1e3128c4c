"""The preStop hook: `pre_stop.py PORT SETTLE_SECONDS MOST_SECONDS [FOLDER]`. Ends when nobody uses the server any more.

The mount is no installed package: the path that vLLM gets by PYTHONPATH is found from this file.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from qwen3_in_engine.server.drain import POLL_SECONDS, asked, done, seen

SEEN_SECONDS = 3.0
"""A server that has not seen the request by then runs without the middleware."""


def main(port: int, settle_seconds: float, most_seconds: float, folder: Path) -> None:
    """Ask the server to drain, and wait for it."""
    if not _listens(port):
        return  # nobody can be there: it never started
    asked(folder).touch()
    until = time.monotonic() + most_seconds
    if not _wait_for(lambda: _pids(folder, seen), min(SEEN_SECONDS, most_seconds)):
        time.sleep(min(settle_seconds, most_seconds))
        return
    _wait_for(lambda: _pids(folder, seen) <= _pids(folder, done), until - time.monotonic())


def _listens(port: int) -> bool:
    for host in ("127.0.0.1", "::1"):
        try:
            with socket.create_connection((host, port), timeout=2):
                return True
        except OSError:
            continue
    return False


def _pids(folder: Path, kind: Callable[[Path, str], Path]) -> set[str]:
    return {path.name.rpartition("-")[2] for path in folder.glob(kind(folder, "*").name)}


def _wait_for(what: Callable[[], object], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (found := bool(what())) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path((sys.argv[4:] or ["/tmp"])[0]))

"""`vllm serve` as a child process: start, wait, read its log, end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "operator"), os.environ.get("PYTHONPATH", "")]),
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # FlashInfer's sampler is compiled with nvcc at the first start; the memory is the same without it.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}


@dataclass(frozen=True)
class Server:
    url: str
    log: Path
    ready: bool
    seconds: float
    """From exec to /health, or to the exit of a server that did not start."""


@contextmanager
def serving(
    model: Path, flags: Sequence[str], log: Path, *, environment: Mapping[str, str], timeout: float = 400
) -> Iterator[Server]:
    """A server until the end of the block; one that exits before it is ready is yielded with ``ready`` False."""
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--load-format", "dummy"]
    command += ["--host", "127.0.0.1", "--port", str(port), *flags]
    begin = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT, **environment},
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            ready = _wait(process, url, begin + timeout)
            yield Server(url, log, ready, time.monotonic() - begin)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, deadline: float) -> bool:
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the server is neither ready nor has it exited")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

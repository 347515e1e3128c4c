"""The operator as the process that users run."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.waiting import wait_until

COMMAND = Path(sys.executable).parent / "qwen3-operator"
START_SECONDS = 60.0


class OperatorProcess:
    """`qwen3-operator run` against one cluster, its log in a file. Start it as often as you like."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self.kubeconfig, self.log, self.settings = kubeconfig, log, settings
        self.command = COMMAND
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for anything."""
        assert not self.running, "it runs already"
        variables = {
            "KUBECONFIG": str(self.kubeconfig),
            "QWEN3_OPERATOR_HTTP_HOST": "127.0.0.1",
            "QWEN3_OPERATOR_HTTP_PORT": str(self.port),
        } | {f"QWEN3_OPERATOR_{key.upper()}": value for key, value in self.settings.items()}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([self.command, "run"], env=os.environ | variables, stdout=log, stderr=log)
        return self._process

    def start(self) -> None:
        """Start it and wait until it does its work."""
        process = self.launch()

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the operator ended with {process.returncode}\n{self.log_tail()}")
            return self.http("/readyz")[0] == 200

        wait_until(ready, within=START_SECONDS, what="the operator is ready", showing=self.log_tail)

    def stop(self) -> float:
        """SIGTERM; the seconds until it was gone. Raises AssertionError when it ended with an error."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        started = time.monotonic()
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        took = time.monotonic() - started
        assert process.returncode == 0, f"SIGTERM: exit code {process.returncode}\n{self.log_tail()}"
        return took

    def wait(self, seconds: float) -> int:
        """Wait for its own end; the exit code."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and has neither been stopped nor ended by itself."""
        return self._process is not None and self._process.poll() is None

    def keep_running(self) -> None:
        """Start it where it does not run, as a kubelet does: what ended it has failed the test of that moment."""
        if self.running:
            return
        if self._process is not None:
            print(f"the operator had ended with {self._process.returncode}\n{self.log_tail()}")
        self.start()

    def http(self, path: str) -> tuple[int, str]:
        """GET from the operator's own port: status (0 when nobody listens) and body."""
        return get(self.port, path)

    def log_tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "operator's log:\n" + "\n".join(self.log.read_text().splitlines()[-lines:])


def get(port: int, path: str) -> tuple[int, str]:
    """GET from a port of this machine: status (0 when nobody listens) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

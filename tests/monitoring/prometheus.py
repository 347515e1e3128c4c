"""Debian's Prometheus as a process: what it scrapes on 127.0.0.1, and what it answers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from devcluster.controlplane import free_ports
from devcluster.debian import program

PACKAGE = "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises AssertionError for one that it refuses."""
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=20) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        return found


@contextlib.contextmanager
def prometheus(folder: Path, jobs: list[dict[str, Any]], host: str = "127.0.0.1") -> Iterator[Prometheus]:
    """A Prometheus with these scrape configurations, once a second where they do not say otherwise."""
    (port,) = free_ports(1)
    it = Prometheus(port, host)
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    command = [
        *(
            str(program(PACKAGE, "usr/bin/prometheus")),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
        ),
        f"--web.listen-address={host}:{port}",
    ]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(it, process, folder / "prometheus.log")
            yield it
        finally:
            process.terminate()


def _wait(it: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{it.url}/-/ready", timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text())

"""A container registry of this machine: Debian's docker-registry, unpacked into the cache and not installed.

With `names` it speaks TLS, with a certificate for them: a test can have `registry.example` be this registry (see
Cluster.pull_from, and tests/distribution). Without, it speaks plain HTTP, as docker, containerd and helm's --plain-http
take it from a registry on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import debian, processes
from devcluster.controlplane import free_ports
from devcluster.paths import DevclusterError

START_SECONDS = 20.0


@dataclass(frozen=True)
class Registry:
    """A registry that runs."""

    port: int
    certificate: Path | None = None
    """Who trusts this certificate trusts the registry; None: it speaks plain HTTP."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """SCHEME://HOST:PORT."""
        return f"{'https' if self.certificate else 'http'}://{self.address}"


@contextlib.contextmanager
def registry(folder: Path, port: int = 0, names: Sequence[str] = ()) -> Iterator[Registry]:
    """A registry that keeps its content in `folder`, as long as the block lasts; `port` 0: a free one.

    `names`: host names that its certificate is for. Raises DevclusterError where it does not start.
    """
    program = debian.program("docker-registry", "usr/bin/docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    (free,) = free_ports(1)
    certificate = _certificate(folder, names) if names else None
    it = Registry(port or free, certificate)
    if _listens(it.port):
        raise DevclusterError(f"port {it.port} is taken: choose another one")
    config, log = folder / "registry.json", folder / "registry.log"
    config.write_text(json.dumps(_config(folder, it), indent=1))  # JSON is YAML
    with (
        log.open("ab") as output,
        subprocess.Popen([program, "serve", config], stdout=output, stderr=output) as process,
    ):
        try:
            _wait(it, process, log)
            yield it
        finally:
            process.terminate()


def _config(folder: Path, it: Registry) -> dict[str, object]:
    http: dict[str, object] = {"addr": it.address, "secret": "one process: nobody shares it"}
    if it.certificate:
        http["tls"] = {"certificate": str(it.certificate), "key": str(it.certificate.with_suffix(".key"))}
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
    }


def _certificate(folder: Path, names: Sequence[str]) -> Path:
    """A certificate for the names and 127.0.0.1 that vouches for itself; its key lies beside it."""
    certificate = folder / "registry.crt"
    alternatives = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in names)])
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}"]
    command += ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"openssl makes no certificate: {done.stderr.strip()[-800:]}")
    return certificate


def _wait(it: Registry, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if _listens(it.port):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise DevclusterError(f"the registry does not start on port {it.port}:\n{processes.tail(log)}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

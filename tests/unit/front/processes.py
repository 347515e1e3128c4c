"""The front as the process that the chart runs."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from qwen3_front.contract import ANNOTATION, CLUSTERS, OURS, SERVICE_LABEL, SLICE_MANAGER, Notice

COUNT = 4
"""Ports of a front in tests."""
PORTS_OF_TESTS = (21_000, 32_000)


class FrontProcess:
    """`python -m qwen3_front` against the API server of a kubeconfig."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: Any) -> None:
        self.first_port, self.admin_port = free_ports(COUNT), free_ports(1)
        given = {"first_port": self.first_port, "ports": COUNT, "admin_port": self.admin_port} | settings
        variables = {f"QWEN3_FRONT_{key.upper()}": str(value) for key, value in given.items()}
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qwen3_front"],
                env=os.environ | variables | {"KUBECONFIG": str(kubeconfig)},
                stdout=stream,
                stderr=stream,
            )
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.url = f"http://127.0.0.1:{self.first_port}"

    def end(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self.process.wait, 30)

    def kill(self) -> None:
        """Have it gone."""
        self.process.kill()
        self.process.wait()

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    @property
    def cpu_seconds(self) -> float:
        """Of user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> int:
    """The first of so many ports that are free, one after the other: below those that the kernel gives to outgoing
    connections, which would take one of many before they are listened on."""
    while True:
        first = random.randrange(*PORTS_OF_TESTS, count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def front_slice(port: int) -> dict[str, Any]:
    """What the operator makes of a deployment `chat`."""
    return _slice("chat-front", OURS, port, [], {ANNOTATION: Notice().written()})


def server_slice(port: int, *addresses: str) -> dict[str, Any]:
    """What the cluster makes of its Service."""
    return _slice("chat-x7k2p", CLUSTERS, port, list(addresses), {})


def _slice(name: str, manager: str, port: int, addresses: list[str], annotations: dict[str, str]) -> dict[str, Any]:
    labels = {SERVICE_LABEL: "chat", SLICE_MANAGER: manager, "app.kubernetes.io/managed-by": "qwen3-operator"}
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "annotations": annotations,
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [it], "conditions": {"ready": True}} for it in addresses],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }

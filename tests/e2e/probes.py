"""Who reaches whom, by real connections from pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from demo.kube import Kube
from devcluster import tools
from tests.load.in_cluster import RESTRICTED, RESTRICTED_CONTAINER

SETTLE_SECONDS = 30.0
"""How long a change of policies or pods may take to be in force."""
TRY = """
import concurrent.futures, json, socket, sys
def opens(address):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=3):
            return True
    except socket.gaierror:
        return None
    except OSError:
        return False
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(opens, sys.argv[1:]))))
"""
LISTEN = """
import socket, sys, threading
def serve(port):
    with socket.create_server(("", port)) as server:
        while True:
            server.accept()[0].close()
for port in sys.argv[1:]:
    threading.Thread(target=serve, args=(int(port),), daemon=True).start()
print("listening", flush=True)
sys.stdin.read()
"""
"""Until its input ends: a process that `kubectl exec` started does not end with it."""
FETCH = """
import sys, urllib.request
url, body = sys.argv[1:]
headers = {"Content-Type": "application/json"}
with urllib.request.urlopen(urllib.request.Request(url, body.encode() or None, headers), timeout=60) as answer:
    sys.stdout.write(answer.read().decode())
"""


@dataclass(frozen=True)
class Probe:
    """A pod that has Python, to connect from."""

    kube: Kube
    namespace: str
    pod: str

    def reached(self, places: Mapping[str, str]) -> set[str]:
        """The names of those places (name -> HOST:PORT) that take a connection. DNS has to know each of them: else
        what is not found would pass for refused."""
        answers = json.loads(self._python(TRY, *places.values()))
        assert None not in answers, f"{self.pod}: no such host: {answers}, {places}"
        return {name for name, opened in zip(places, answers, strict=True) if opened}

    def reaches(self, places: Mapping[str, str], expected: set[str]) -> None:
        """Those and no others, once policies and pods have settled."""
        until = time.monotonic() + SETTLE_SECONDS
        while (found := self.reached(places)) != expected and time.monotonic() < until:
            time.sleep(0.5)
        assert found == expected, (
            f"from {self.namespace}/{self.pod}: too many {found - expected}, not {expected - found}"
        )

    def fetch(self, url: str, body: Any = None) -> str:
        """What it answers, to a POST of `body` where there is one."""
        return self._python(FETCH, url, json.dumps(body) if body else "")

    def at(self, port: int) -> str:
        """HOST:PORT of the pod itself, past its Service."""
        address = self.kube.get("pod", self.pod, "-n", self.namespace)["status"]["podIP"]
        return f"{address}:{port}"

    @contextlib.contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Something in the pod takes connections on the port too, as long as the block lasts."""
        kubectl = tools.ensure(["kubectl"])["kubectl"]
        words = ["exec", "-i", "-n", self.namespace, self.pod, "--", "python3", "-c", LISTEN, str(port)]
        with subprocess.Popen(
            [kubectl, f"--kubeconfig={self.kube.kubeconfig}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin and process.stdout
            try:
                assert process.stdout.readline() == "listening\n"
                yield
            finally:
                process.stdin.close()

    def _python(self, program: str, *words: str) -> str:
        return self.kube.run("exec", "-n", self.namespace, self.pod, "--", "python3", "-c", program, *words)


def listener(
    namespace: str, name: str, image: str, labels: Mapping[str, str], ports: tuple[int, ...]
) -> dict[str, Any]:
    """A pod that takes connections on the ports, and to connect from."""
    container = {
        "name": "probe",
        "image": image,
        "command": ["python3", "-c", LISTEN, *map(str, ports)],
        "stdin": True,
        "readinessProbe": {"tcpSocket": {"port": ports[0]}, "periodSeconds": 1},
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": RESTRICTED,
        "containers": [container],
    }
    meta = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

"""kubectl and helm on one cluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from devcluster import tools

T = TypeVar("T")
TRIES, NOT_SENT = 3, "TLS handshake timeout"
"""A busy machine may be late with a connection: nothing was asked yet, and it is tried again."""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Kube:
    """The cluster of `kubeconfig`: a file, or several as in the variable KUBECONFIG, parted by ':'."""

    def __init__(self, kubeconfig: Path | str) -> None:
        self.kubeconfig = str(kubeconfig)
        self._tools = tools.ensure(["kubectl", "helm"])
        # helm would follow its own variables to another server.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_KUBE", "HELM_NAMESPACE"))}
        self._environment = kept | {"KUBECONFIG": self.kubeconfig}

    def run(self, *args: str, input: str | None = None, timeout: float = 120) -> str:
        """What `kubectl ARGS` prints. Raises DemoError with its own words."""
        return self._call("kubectl", args, input, timeout)

    def helm(self, *args: str, timeout: float = 180) -> str:
        """What `helm ARGS` prints. Raises DemoError with its own words."""
        return self._call("helm", args, None, timeout)

    def get(self, *args: str) -> Any:
        """The parsed answer of `kubectl get ARGS -o json`."""
        return json.loads(self.run("get", *args, "-o", "json"))

    def apply(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Server-side apply of the manifests."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    @contextlib.contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """A URL on a free port of 127.0.0.1 that leads to `target` (like svc/NAME) as long as the block lasts."""
        words = ["port-forward", "--address=127.0.0.1", f"--namespace={namespace}", target, f":{port}"]
        with subprocess.Popen(
            [self._tools["kubectl"], *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                assert process.stdout
                line = process.stdout.readline()
                found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise DemoError(f"kubectl port-forward {target}: {line}{process.stdout.read()}")
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                process.terminate()

    def _call(self, tool: str, args: Iterable[str], input: str | None, timeout: float) -> str:
        for _ in range(TRIES):
            done = subprocess.run(
                [self._tools[tool], *args],
                env=self._environment,
                input=input,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            if not done.returncode or NOT_SENT not in done.stderr:
                break
        if done.returncode:
            raise DemoError(f"{tool} {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout


def wait_until(what: str, condition: Callable[[], T], *, timeout: float, every: float = 0.5) -> T:
    """The first true value of `condition()`. Raises DemoError when there is none in `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        if found := condition():
            return found
        if time.monotonic() > until:
            raise DemoError(f"{what}: not in {timeout:.0f} s")
        time.sleep(every)

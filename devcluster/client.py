"""Requests to one API server as its administrator, by kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from devcluster import tools
from devcluster.paths import DevclusterError


class Client:
    """kubectl with one kubeconfig; manifests and answers are plain objects."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def kubectl(self, *args: str, input: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """What `kubectl ARGS` prints. Raises DevclusterError with its error output when it fails and `check`."""
        done = subprocess.run(
            [str(tools.ensure(["kubectl"])["kubectl"]), "--kubeconfig", str(self.kubeconfig), *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise DevclusterError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *args: str) -> Any:
        """The parsed answer of `kubectl get ARGS -o json`."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def create(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Create many objects in one call. A Node keeps the status given with it, which an apply would drop."""
        self.kubectl("create", "-f", "-", input=_as_list(manifests))

    def apply(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Server-side apply of many objects in one call."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=_as_list(manifests))


def _as_list(manifests: Iterable[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})

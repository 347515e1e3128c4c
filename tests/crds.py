"""The CRDs as they are installed, and as they go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from devcluster import Cluster

FOLDER = Path(__file__).parents[1] / "crds"


def crds(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All of a folder, in the order of their files. Read by libyaml: YAML's reader in Python takes seconds for them."""
    return [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in sorted(folder.glob("*.yaml"))]


def install(cluster: Cluster, crds: Iterable[dict[str, Any]]) -> None:
    """Apply CRDs, and wait until the API server serves them."""
    cluster.apply(crds)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def uninstall(cluster: Cluster, crds: Iterable[dict[str, Any]]) -> None:
    """`remove` what was installed."""
    remove(cluster.kubectl, *(crd["metadata"]["name"] for crd in crds))


def remove(kubectl: Callable[..., str], *names: str, within: float = 60.0) -> None:
    """Delete CRDs, and wait until they are gone.

    The API server may leave a deletion half done that something else wrote into: what it waits for then is another
    change of that CRD, or its own round over all of them, every five minutes. So the CRD is changed.
    """
    kubectl("delete", "crd", *names, "--ignore-not-found", "--wait=false")
    deadline = time.monotonic() + within
    for number in range(round(within)):
        there = kubectl("get", "crd", *names, "--ignore-not-found", "-o", "name").split()
        if not there:
            return
        assert time.monotonic() < deadline, f"not within {within:g} s: {there} are gone"
        if number and number % 5 == 0:
            with suppress(Exception):  # it may go at this very moment
                kubectl("annotate", *there, f"tests/touched={number}", "--overwrite")
        time.sleep(1)

"""Flux' kustomize-controller as a process. What its source-controller would have fetched from Git is served here: the
archive of a commit, and the GitRepository that names it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import devcluster
from devcluster import tools
from devcluster.controlplane import free_ports
from tests.cluster.api import Api
from tests.cluster.waiting import wait_until
from tests.gitops.argo_cd import run
from tests.gitops.repository import BRANCH, Repository

from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.reconcile.context import utc_now

Object = dict[str, Any]
CONTROLLER = "github.com/fluxcd/kustomize-controller@v1.9.6"
SOURCES = "github.com/fluxcd/source-controller@v1.9.6"
KUSTOMIZATIONS = Kind("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "kustomizations")
REPOSITORIES = Kind("source.toolkit.fluxcd.io/v1", "GitRepository", "gitrepositories")
NAME = "models"
SYNC_SECONDS = 90.0


@dataclass(frozen=True)
class Flux:
    """One that runs."""

    api: Api
    folder: Path
    port: int
    log: Path

    def commit(self, namespace: str, repository: Repository, commit: str) -> None:
        """What source-controller does when it has seen a commit."""
        archive = self.folder / f"{commit}.tar.gz"
        with tarfile.open(archive, "w:gz") as packed:
            for path in sorted(repository.folder.iterdir()):
                if path.name != ".git":
                    packed.add(path, path.name)
        content = archive.read_bytes()
        self._put(REPOSITORIES, namespace, {"url": "https://git.example/models.git", "interval": "1h"})
        artifact = {
            "path": archive.name,
            "url": f"http://127.0.0.1:{self.port}/{archive.name}",
            "revision": f"{BRANCH}@sha1:{commit}",
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "lastUpdateTime": timestamp(utc_now()),
            "size": len(content),
        }
        self._put(REPOSITORIES, namespace, {"status": {"artifact": artifact}}, "status")

    def kustomization(self, namespace: str, spec: Object) -> None:
        """Sync the repository into its namespace."""
        self._put(KUSTOMIZATIONS, namespace, spec)

    def get(self, namespace: str) -> Object:
        """The Kustomization."""
        return self.api.request("GET", KUSTOMIZATIONS.path(namespace, NAME))

    def wait(self, namespace: str, status: str, *, commit: str = "", reason: str = "") -> Object:
        """Wait for its condition Ready (of the commit); returns it."""

        def there() -> Object:
            found = self.get(namespace)
            (ready,) = [it for it in found["status"]["conditions"] if it["type"] == "Ready"]
            assert ready["status"] == status and ready["reason"] == (reason or ready["reason"]), ready
            attempted = found["status"]["lastAttemptedRevision"]
            assert attempted.endswith(commit), attempted
            return dict(ready)

        return wait_until(there, within=SYNC_SECONDS, what=f"Ready is {status}", showing=self.told)

    def told(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-25:])

    def _put(self, kind: Kind, namespace: str, content: Object, subresource: str | None = None) -> None:
        manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": NAME, "namespace": namespace},
            **(content if subresource else {"spec": content}),
        }
        query = {"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"}
        path = kind.path(namespace, NAME, subresource)
        self.api.request("PATCH", path, manifest, query=query, content_type="application/apply-patch+yaml")


@contextlib.contextmanager
def flux(cluster: devcluster.Cluster, api: Api, folder: Path) -> Iterator[Flux]:
    """kustomize-controller at work on the cluster with an administrator's rights."""
    for module, name in (
        (CONTROLLER, "kustomize.toolkit.fluxcd.io_kustomizations"),
        (SOURCES, "source.toolkit.fluxcd.io_gitrepositories"),
        (SOURCES, "source.toolkit.fluxcd.io_ocirepositories"),
        (SOURCES, "source.toolkit.fluxcd.io_buckets"),
    ):
        crd = tools.source("flux", module) / f"config/crd/bases/{name}.yaml"
        cluster.kubectl("apply", "--server-side", "-f", str(crd))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True)
    metrics, health = free_ports(2)
    program = tools.ensure(["kustomize-controller"])["kustomize-controller"]
    command = [str(program), f"--metrics-addr=127.0.0.1:{metrics}", f"--health-addr=127.0.0.1:{health}"]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(folder), "TMPDIR": str(folder)}
    with _served(artifacts) as port, run(command, environment, folder / "flux.log"):
        yield Flux(api, artifacts, port, folder / "flux.log")


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[int]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()

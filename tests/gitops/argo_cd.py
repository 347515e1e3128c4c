"""Argo CD's application controller and repository server as processes, without its API server ("core"): Applications
are made and read as objects of the cluster."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import devcluster
import yaml
from devcluster import debian, tools
from devcluster.controlplane import free_ports
from tests.cluster.api import Api, Refused
from tests.cluster.waiting import wait_until
from tests.documents.snippets import blocks
from tests.gitops.repository import BRANCH, Repository

from qwen3_operator.controller.kinds import Kind

Object = dict[str, Any]
NAMESPACE = "argocd"
PROJECT, STRICT = "models", "strict"
"""The project of the document, and one which wants that everything has an owner."""
MODULE = "github.com/argoproj/argo-cd/v3"
APPLICATIONS = Kind("argoproj.io/v1alpha1", "Application", "applications")
CLUSTER = "https://kubernetes.default.svc"
REFRESH = "argocd.argoproj.io/refresh"
START_SECONDS, SYNC_SECONDS = 60.0, 90.0


@dataclass(frozen=True)
class ArgoCd:
    """One that runs."""

    api: Api
    logs: tuple[Path, ...]
    made: list[Application] = field(default_factory=list)
    """The Applications of a test: each would make anew what is deleted after it."""

    def sync(
        self,
        repository: Repository,
        path: str,
        namespace: str,
        *,
        name: str = "",
        options: tuple[str, ...] = (),
        ignored: list[Object] | None = None,
        annotations: dict[str, str] | None = None,
        project: str = PROJECT,
    ) -> Application:
        """An Application that syncs by itself, heals and prunes, from a folder of the repository."""
        it = Application(self, name or f"{namespace}-{path}")
        spec: Object = {
            "project": project,
            "source": {"repoURL": repository.url, "targetRevision": BRANCH, "path": path},
            "destination": {"server": CLUSTER, "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "syncOptions": list(options)},
        }
        if ignored:
            spec["ignoreDifferences"] = ignored
        self.made.append(it)
        it.apply(spec, annotations or {})
        return it

    def reported(self) -> str:
        """The ends of the logs."""
        return "\n".join(f"{log.name}:\n" + "\n".join(log.read_text().splitlines()[-25:]) for log in self.logs)


@dataclass(frozen=True)
class Application:
    """An Application as an object of the cluster."""

    argo: ArgoCd
    name: str
    _path: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_path", APPLICATIONS.path(NAMESPACE, self.name))

    def apply(self, spec: Object, annotations: dict[str, str]) -> None:
        """Make it, or change it."""
        manifest = {
            "apiVersion": APPLICATIONS.api_version,
            "kind": APPLICATIONS.kind,
            "metadata": {"name": self.name, "namespace": NAMESPACE, "annotations": annotations},
            "spec": spec,
        }
        query = {"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"}
        self._request("PATCH", manifest, query, "application/apply-patch+yaml")

    def get(self) -> Object:
        """As it is now."""
        return self._request("GET")

    @property
    def status(self) -> Object:
        """Its status; empty before Argo CD wrote one."""
        found: Object = self.get().get("status") or {}
        return found

    @property
    def health(self) -> str:
        """Argo CD's word for the whole Application."""
        return str(self.status.get("health", {}).get("status"))

    @property
    def sync_status(self) -> str:
        """Synced or OutOfSync."""
        return str(self.status.get("sync", {}).get("status"))

    def health_of(self, kind: str, name: str) -> tuple[str, str]:
        """(word, message) for one of its objects."""
        (found,) = [it for it in self.status["resources"] if (it["kind"], it["name"]) == (kind, name)]
        health = found.get("health", {})
        return health.get("status", ""), health.get("message", "")

    def conditions(self) -> dict[str, str]:
        """What it warns of: type -> message."""
        return {it["type"]: it["message"] for it in self.status.get("conditions") or []}

    def refresh(self, how: str = "normal") -> Object:
        """Have it compared anew (hard: with manifests made anew) and wait until it was; its status then."""
        change = {"metadata": {"annotations": {REFRESH: how}}}
        self._request("PATCH", change, {"fieldManager": "tests"}, "application/merge-patch+json")

        def compared() -> Object:
            found = self.get()
            return {} if REFRESH in (found["metadata"].get("annotations") or {}) else found["status"]

        return wait_until(compared, within=SYNC_SECONDS, what=f"{self.name} is compared", showing=self.argo.reported)

    def wait(self, health: str, *, commit: str = "") -> Object:
        """Wait until it is Synced (to the commit) and has that health; its status then."""

        def there() -> Object:
            status = self.status
            sync = status.get("sync", {})
            assert (sync.get("status"), status["health"]["status"]) == ("Synced", health), self.describe(status)
            assert not commit or sync["revision"] == commit, self.describe(status)
            return status

        if commit:
            self.refresh()
        return wait_until(there, within=SYNC_SECONDS, what=f"{self.name} is {health}", showing=self.argo.reported)

    def history(self, since: str) -> list[Object]:
        """Every version of it after that resourceVersion."""
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"}
        query["fieldSelector"] = f"metadata.name={self.name}"
        answer = self.argo.api.request("GET", APPLICATIONS.path(NAMESPACE), query=query, stream=True)
        return [event["object"] for event in answer["events"]]

    def describe(self, status: Object) -> str:
        """Its status in words, for a failed test."""
        return yaml.safe_dump({key: status.get(key) for key in ("sync", "health", "resources", "conditions")})

    def delete(self) -> None:
        """Take it away; what it made stays."""
        with contextlib.suppress(Refused):
            self._request("DELETE")

    def _request(
        self, method: str, body: Any = None, query: dict[str, str] | None = None, form: str = "application/json"
    ) -> Object:
        return self.argo.api.request(method, self._path, body, query=query, content_type=form)


@contextlib.contextmanager
def argo_cd(cluster: devcluster.Cluster, api: Api, folder: Path) -> Iterator[ArgoCd]:
    """Argo CD, installed with its own manifests and at work on the cluster with an administrator's rights."""
    _install(cluster)
    programs, temporary = folder / "bin", folder / "tmp"
    programs.mkdir(parents=True)
    temporary.mkdir()
    names = ("argocd-application-controller", "argocd-repo-server")
    built = tools.ensure(["argocd", "helm", "kustomize"])
    for name in names:
        (programs / name).symlink_to(built["argocd"])
    for name in ("helm", "kustomize"):
        (programs / name).symlink_to(built[name])
    # One program is all of redis, by the name that it is called by.
    (programs / "redis-server").symlink_to(debian.program("redis-tools", "usr/bin/redis-check-rdb"))
    redis, repo_server, repo_metrics, metrics = free_ports(4)
    environment = os.environ | _environment(cluster, folder, programs, temporary)
    controller, server = (str(programs / name) for name in names)
    commands = {
        "redis": [
            *(str(programs / "redis-server"), "--port", str(redis), "--save", ""),
            *("--bind", "127.0.0.1", "--dir", str(folder)),
        ],
        names[1]: [
            *(server, "--redis", f"127.0.0.1:{redis}", "--address", "127.0.0.1", "--port", str(repo_server)),
            *("--metrics-address", "127.0.0.1", "--metrics-port", str(repo_metrics), "--disable-tls"),
        ],
        names[0]: [
            *(controller, "--redis", f"127.0.0.1:{redis}", "--repo-server", f"127.0.0.1:{repo_server}"),
            *("--repo-server-plaintext", "--metrics-port", str(metrics), "--namespace", NAMESPACE),
            # Beside each object what is said of it, and not only of all together.
            "--persist-resource-health",
        ],
    }
    it = ArgoCd(api, tuple(folder / f"{name}.log" for name in commands))
    with contextlib.ExitStack() as stack:
        for (name, command), log in zip(commands.items(), it.logs, strict=True):
            stack.enter_context(run(command, environment, log))
            if name == names[1]:
                wait_until(lambda: "listening on" in it.logs[1].read_text(), within=START_SECONDS, showing=it.reported)
        yield it


def _install(cluster: devcluster.Cluster) -> None:
    """Its CRDs and configuration as they are released, and the projects."""
    manifests = tools.source("argocd", MODULE) / "manifests"
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    found = [
        *(manifests / f"crds/{name}-crd.yaml" for name in ("application", "appproject", "applicationset")),
        *(manifests / f"base/config/{name}.yaml" for name in ("argocd-cm", "argocd-cmd-params-cm", "argocd-secret")),
    ]
    for manifest in [yaml.safe_load(path.read_text()) for path in found]:
        cluster.apply([manifest | {"metadata": manifest["metadata"] | {"namespace": NAMESPACE}}])
    # What the API server, which does not run here, would have drawn.
    key = {"stringData": {"server.secretkey": "only for tests"}}
    cluster.kubectl("-n", NAMESPACE, "patch", "secret", "argocd-secret", "-p", json.dumps(key))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    project = documented_manifest("AppProject")
    strict = copy.deepcopy(project)
    strict["metadata"]["name"] = STRICT
    del strict["spec"]["orphanedResources"]["ignore"]
    cluster.apply([project, strict])


def documented_manifest(kind: str) -> Object:
    """The one manifest of that kind in docs/gitops.md."""
    shown = [yaml.safe_load(text) for where, text in blocks("yaml") if where.startswith("gitops.md")]
    (found,) = [it for it in shown if it["kind"] == kind]
    return dict(found)


def _libraries() -> str:
    """Where those are that Debian's redis needs beside what every machine has."""
    folder = f"usr/lib/{platform.machine()}-linux-gnu"
    wanted = {"liblzf1": "liblzf.so.1", "libjemalloc2": "libjemalloc.so.2"}
    return ":".join(str(debian.program(package, f"{folder}/{name}").parent) for package, name in wanted.items())


def _environment(cluster: devcluster.Cluster, folder: Path, programs: Path, temporary: Path) -> dict[str, str]:
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "ARGOCD_FAKE_IN_CLUSTER": "true",  # the cluster of the kubeconfig is the one it runs in
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(folder),
        "ARGOCD_SSH_DATA_PATH": str(folder),
        "HOME": str(folder),
        "TMPDIR": str(temporary),
        "LD_LIBRARY_PATH": _libraries(),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }


@contextlib.contextmanager
def run(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process for as long as the block lasts."""
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield
            assert process.poll() is None, f"{command[0]} has ended\n{log.read_text()[-3000:]}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

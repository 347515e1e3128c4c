"""Build the programs of the cluster from Go modules, once, into the cache.

Each folder of devcluster/go is one module that pins a family of programs: their requirements contradict each other,
so they cannot share one. A built program stands under bin/<family>-<hash of everything that decides its content>/.

Kubernetes is there in the newest version, and as kubernetes-1.N in the oldest that the chart supports, without a node:
QWEN3_KUBERNETES=1.N picks it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import golang
from devcluster.paths import DevclusterError, cache_dir

MODULES = Path(__file__).parent / "go"
KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Tool:
    family: str
    package: str

    @property
    def program(self) -> str:
        """The name that Go gives it: the package's last part that is not a version."""
        return re.sub(r"/v\d+$", "", self.package).rpartition("/")[2]


TOOLS = {
    "etcd": Tool("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubectl": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kubectl"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kwokctl": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwokctl"),
    "helm": Tool("helm", "helm.sh/helm/v3/cmd/helm"),
    "kubelet": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kubelet"),
    "kube-proxy": Tool(KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy"),
    "local-path-provisioner": Tool("localpath", "github.com/rancher/local-path-provisioner"),
    "coredns": Tool("coredns", "github.com/coredns/coredns"),
    "envoy-gateway": Tool("envoygateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway"),
    "epp": Tool("endpointpicker", "sigs.k8s.io/gateway-api-inference-extension/cmd/epp"),
    "argocd": Tool("argocd", "qwen3.dev/devcluster/argocd"),
    "kustomize": Tool("kustomize", "sigs.k8s.io/kustomize/kustomize/v5"),
    "kstatus": Tool("kstatus", "qwen3.dev/devcluster/kstatus"),
    "keda-operator": Tool("keda", "github.com/kedacore/keda/v2/cmd/operator"),
    "keda-metrics-apiserver": Tool("keda", "github.com/kedacore/keda/v2/cmd/adapter"),
    "kube-router": Tool("kuberouter", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
}
CONTROL_PLANE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "kwokctl",
    "kubectl",
)
REAL_NODE = (*CONTROL_PLANE, "kubelet", "kube-proxy", "local-path-provisioner", "coredns")


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Paths of the named tools, each built when the cache lacks it.

    Raises DevclusterError for a name that is not in TOOLS, when Go is missing, and when a build fails.
    """
    names = list(names)
    if unknown := sorted(set(names) - TOOLS.keys()):
        raise DevclusterError(f"no such tool: {', '.join(unknown)}. There are: {', '.join(TOOLS)}")
    return {name: path for family, group in _by_family(names).items() for name, path in _ensure(family, group).items()}


def source(family: str, module: str) -> Path:
    """The unpacked source of a Go module that a family pins: for the manifests that stand beside its code."""
    found = _go(family, "mod", "download", "-json", module)
    return Path(json.loads(found)["Dir"])


def kubernetes_version(folder: Path | None = None) -> str:
    """The pinned version of Kubernetes, such as v1.36.3: of QWEN3_KUBERNETES, or of the module in `folder`."""
    folder = folder or module_of(KUBERNETES)
    match = re.search(r"k8s\.io/kubernetes (v\S+)", (folder / "go.mod").read_text())
    assert match
    return match[1]


def kubernetes_versions() -> list[str]:
    """Every pinned version of Kubernetes, the newest first."""
    found = map(kubernetes_version, MODULES.glob(f"{KUBERNETES}*"))
    return sorted(found, key=lambda version: [int(part) for part in version[1:].split(".")], reverse=True)


def module_of(family: str) -> Path:
    """The folder that pins a family. Raises DevclusterError for a Kubernetes that is not pinned."""
    wanted = os.environ.get("QWEN3_KUBERNETES", "") if family == KUBERNETES else ""
    if not wanted or kubernetes_version(MODULES / family).startswith(f"v{wanted}."):
        return MODULES / family
    if not (MODULES / f"{family}-{wanted}").exists():
        there = ", ".join(version[1:].rpartition(".")[0] for version in kubernetes_versions())
        raise DevclusterError(f"QWEN3_KUBERNETES={wanted}: there is no such version; there are: {there}")
    return MODULES / f"{family}-{wanted}"


def folder_of(family: str) -> Path:
    """Where the cache holds the programs of a family, in exactly this version and built exactly this way."""
    digest = hashlib.sha256()
    folder = module_of(family)
    for part in (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))):
        digest.update(part.read_bytes())
    digest.update(_ldflags(family).encode())
    digest.update(_go_version(family).encode())
    return cache_dir() / "bin" / f"{module_of(family).name}-{digest.hexdigest()[:16]}"


def _by_family(names: Iterable[str]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(TOOLS[name].family, []).append(name)
    return families


def _ensure(family: str, names: Iterable[str]) -> dict[str, Path]:
    folder = folder_of(family)
    paths = {name: folder / name for name in names}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = [name for name, path in paths.items() if not path.exists()]  # another build may have made some
            if missing:
                _build(family, missing, folder)
    return paths


def _build(family: str, names: Sequence[str], folder: Path) -> None:
    """All of a family by one command: while one program is linked, which takes one core, others are compiled."""
    together = ", ".join(names)
    print(f"devcluster: building {together} ...", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as staging:
        command = [str(golang.find_go()), "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        command += ["-ldflags", _ldflags(family), "-o", f"{staging}/", *(TOOLS[name].package for name in names)]
        done = subprocess.run(
            command, cwd=module_of(family), env=golang.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DevclusterError(f"building {together} failed:\n{done.stderr.strip()[-4000:]}")
        for name in names:
            Path(staging, TOOLS[name].program).rename(folder / name)
    print(f"devcluster: built {together} in {time.monotonic() - started:.0f} s", flush=True)


def _ldflags(family: str) -> str:
    flags = "-s -w"
    if family == KUBERNETES:  # without these the API server calls itself v0.0.0
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".")
        symbols = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        flags += "".join(f" -X k8s.io/component-base/version.{name}={value}" for name, value in symbols.items())
    return flags


@functools.cache
def _go_version(family: str) -> str:
    return _go(family, "env", "GOVERSION").strip()


def _go(family: str, *words: str) -> str:
    """What `go WORDS` prints in the family's module, with the toolchain that its go.mod selects."""
    folder = module_of(family)
    done = subprocess.run(
        [str(golang.find_go()), *words],
        cwd=folder,
        env=golang.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevclusterError(f"`go {' '.join(words)}` in {folder}: {done.stderr.strip()}")
    return done.stdout

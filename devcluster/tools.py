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
import time
from collections.abc import Iterable
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
    "argocd": Tool("argocd", "qwen3.dev/devcluster/argocd"),
    "kustomize": Tool("kustomize", "sigs.k8s.io/kustomize/kustomize/v5"),
    "kstatus": Tool("kstatus", "qwen3.dev/devcluster/kstatus"),
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
    return {name: _ensure(name) for name in names}


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


def _ensure(name: str) -> Path:
    binary = folder_of(TOOLS[name].family) / name
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        with (binary.parent / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not binary.exists():  # another build may have made it while we waited
                _build(name, binary)
    return binary


def _build(name: str, binary: Path) -> None:
    tool = TOOLS[name]
    print(f"devcluster: building {name} ...", flush=True)
    started = time.monotonic()
    staging = binary.with_name(f".{name}.{os.getpid()}")
    command = [str(golang.find_go()), "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    command += ["-ldflags", _ldflags(tool.family), "-o", str(staging), tool.package]
    done = subprocess.run(
        command, cwd=module_of(tool.family), env=golang.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        staging.unlink(missing_ok=True)
        raise DevclusterError(f"building {name} failed:\n{done.stderr.strip()[-4000:]}")
    staging.rename(binary)
    print(f"devcluster: built {name} in {time.monotonic() - started:.0f} s", flush=True)


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

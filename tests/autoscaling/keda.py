"""KEDA of the pinned release: its part of the API, and itself as its release installs it, on the real node."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import devcluster
import yaml
from devcluster import tools
from devcluster.paths import DevclusterError
from devcluster.realnode import image

Object = dict[str, Any]
FAMILY, MODULE = "keda", "github.com/kedacore/keda/v2"
NAMESPACE = "keda"
CRD = "scaledobjects.keda.sh"
METRICS_API = "apiservice/v1beta1.external.metrics.k8s.io"
USER = "65532"
START_SECONDS = 240.0
"""Its certificates are made, and reach its pods when the kubelet next reads their Secret."""


def scaled_object_crd() -> Object:
    """The CRD of ScaledObjects."""
    path = tools.source(FAMILY, MODULE) / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml"
    crd: Object = yaml.safe_load(path.read_text())
    return crd


def manifests() -> list[Object]:
    """What its release installs, without the admission webhooks."""
    kustomize = tools.ensure(["kustomize"])["kustomize"]
    folder = tools.source(FAMILY, MODULE) / "config" / "minimal"
    done = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, check=True)
    return [it for it in yaml.safe_load_all(done.stdout) if it]


@contextlib.contextmanager
def keda(cluster: devcluster.Cluster, folder: Path) -> Iterator[None]:
    """KEDA at work on the real node, until the end of the block. `folder`: for its images."""
    found = manifests()
    for deployment in found:
        if deployment["kind"] == "Deployment":
            _bring(cluster, deployment, folder)
    kinds = [it for it in found if it["kind"] in ("Namespace", "CustomResourceDefinition")]
    try:
        cluster.apply(kinds)
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
        cluster.apply(it for it in found if it not in kinds)
        _wait(cluster)
        yield
    finally:
        # First what the API server would go on asking: while nobody answers, no namespace is deleted to its end.
        cluster.kubectl("delete", METRICS_API, "--ignore-not-found")
        everything = yaml.safe_dump_all(reversed(found))
        cluster.kubectl("delete", "--ignore-not-found", "-f", "-", input=everything, timeout=180)


def log(cluster: devcluster.Cluster, lines: int = 60) -> str:
    """What KEDA's pods said last."""
    which = ("--selector", "name in (keda-operator,keda-metrics-apiserver)")
    said = cluster.kubectl(
        "-n", NAMESPACE, "logs", "--prefix", f"--tail={lines}", "--ignore-errors", *which, check=False
    )
    return cluster.kubectl("-n", NAMESPACE, "get", "pods", check=False) + said


def _wait(cluster: devcluster.Cluster) -> None:
    """Until the API server has its metrics from it."""
    limit = f"--timeout={START_SECONDS:.0f}s"
    try:
        cluster.kubectl("wait", "--for=condition=Available", METRICS_API, limit, timeout=START_SECONDS + 10)
    except DevclusterError as error:
        raise AssertionError(f"{error}\n{log(cluster)}") from error


def _bring(cluster: devcluster.Cluster, deployment: Object, folder: Path) -> None:
    """Make the image of a Deployment, and have it on the node; the Deployment names it."""
    name = deployment["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    reference = f"localhost/{name}:devcluster"
    archive = folder / f"{name}.tar"
    image.write_image(archive, reference, tools.ensure([name])[name], container["command"][0], user=USER)
    cluster.load_image(archive)
    archive.unlink()
    container |= {"image": reference, "imagePullPolicy": "Never"}

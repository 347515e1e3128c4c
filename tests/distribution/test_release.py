"""A release as a platform team has it: `make release` to a registry, and a real node that pulls all of it from there.

The commands are those of the documents, word by word: registry.example is a registry of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
import yaml
from demo import manifests, stage
from demo.kube import Kube, wait_until
from devcluster.registry import registry
from images.build import build
from tests.distribution.named import NAME, reached_as
from tests.documents.shell import Shell
from tests.documents.shell import shell as documents_shell
from tests.documents.snippets import ROOT, documented

pytestmark = pytest.mark.e2e

TEAM = f"{NAME}/team"
OPERATOR = ("-n", "qwen3-system")
MIRROR = "mirror.example"
"""Has what registry.example has, under the same paths."""
MODEL = yaml.safe_load(stage.EXAMPLE.read_text())["spec"]["model"]["id"]
DIST = ROOT / "dist"


@pytest.fixture(scope="module")
def cluster() -> Iterator[devcluster.Cluster]:
    """A real node without any image of ours but the hub's."""
    with devcluster.cluster(real_node=True) as it:
        it.load_image(build("hub").archive)
        yield it


@pytest.fixture(scope="module")
def kube(cluster: devcluster.Cluster) -> Kube:
    """The cluster, with a hub that has a tiny Qwen3."""
    it = Kube(cluster.kubeconfig)
    namespaces = map(manifests.namespace, (manifests.HUB_NAMESPACE, manifests.NAMESPACE))
    it.apply([*namespaces, *manifests.hub(build("hub").reference)])
    it.run("-n", manifests.HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")
    return it


@pytest.fixture(scope="module")
def shell(cluster: devcluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Run a command of the documents in the repository; what it prints. The node pulls from the same registry."""
    programs, content = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("registry")
    for name in ("operator", "downloader"):
        build(name)  # here packages are fetched; later the way leads to the registry alone
    with registry(content, names=[NAME]) as it, reached_as(NAME, it) as variables:
        for name in (NAME, MIRROR):
            cluster.pull_from(name, it)
        names = ("kubectl", "helm")
        yield documents_shell(programs, cluster.kubeconfig, names=names, seconds=600, variables=variables)


@pytest.fixture(scope="module")
def printed(shell: Shell) -> str:
    """What `make release` says."""
    return shell(documented("make release REGISTRY=registry.example/team"))


def test_it_says_how_to_install_what_it_made(printed: str) -> None:
    assert printed.rstrip().splitlines()[-1] == INSTALL
    images = (DIST / "images.txt").read_text().splitlines()
    assert all(f"{TEAM}/qwen3-{name}@sha256:" in images[at] for at, name in enumerate(("operator", "downloader")))
    for name in ("operator", "downloader"):
        listed = {it["name"] for it in json.loads((DIST / f"qwen3-{name}.cdx.json").read_text())["components"]}
        assert {"operator": "kopf", "downloader": "pycurl"}[name] in listed and "libc6" in listed


INSTALL = documented(
    "helm install qwen3-operator oci://registry.example/team/charts/qwen3-operator --version 0.1.0 "
    "--namespace qwen3-system --create-namespace"
)


def test_the_documents_install_runs_as_written(printed: str, shell: Shell, kube: Kube) -> None:
    shell(INSTALL)
    shell(documented("kubectl -n qwen3-system rollout status deployment/qwen3-operator"))
    assert images_of(kube, *OPERATOR) == {f"{TEAM}/qwen3-operator"}
    _download(kube, "first")
    assert images_of(kube, "-n", manifests.NAMESPACE) == {f"{TEAM}/qwen3-downloader"}
    shell(documented("helm uninstall qwen3-operator --namespace qwen3-system"))


def test_from_a_mirror(printed: str, shell: Shell, kube: Kube) -> None:
    installed = documented(
        "helm install qwen3-operator dist/qwen3-operator-0.1.0.tgz --namespace qwen3-system --create-namespace "
        "--set imageRegistry=mirror.example"
    )
    shell(installed)
    shell("kubectl -n qwen3-system rollout status deployment/qwen3-operator")
    assert images_of(kube, *OPERATOR) == {f"{MIRROR}/team/qwen3-operator"}
    shell("helm uninstall qwen3-operator --namespace qwen3-system")


def test_without_helm(printed: str, shell: Shell, kube: Kube) -> None:
    """After helm's release: its CRDs and their objects stay, and are the new installation's."""
    shell(documented("kubectl apply --server-side -f dist/install.yaml"))
    shell(documented("kubectl -n qwen3-system rollout status deployment/qwen3-operator"))
    assert images_of(kube, *OPERATOR) == {f"{TEAM}/qwen3-operator"}
    _download(kube, "second")


def images_of(kube: Kube, *where: str) -> set[str]:
    """Repositories of the images that the pods name; each by digest."""
    named = [
        container["image"]
        for pod in kube.get("pods", *where)["items"]
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["containers"]
    ]
    assert named and all("@sha256:" in image for image in named), named
    return {image.partition("@")[0] for image in named}


def _download(kube: Kube, name: str) -> None:
    """A Qwen3Model comes to Ready."""
    model: dict[str, Any] = {
        "apiVersion": "serving.qwen3.dev/v1alpha1",
        "kind": "Qwen3Model",
        "metadata": {"name": name, "namespace": manifests.NAMESPACE},
        "spec": {"id": MODEL, "endpoint": manifests.HUB_URL},
    }
    kube.apply([model])

    def ready() -> bool:
        found = kube.get("qwen3model", name, "-n", manifests.NAMESPACE)
        return any(
            c["type"] == "Ready" and c["status"] == "True" for c in found.get("status", {}).get("conditions", [])
        )

    wait_until(f"{name} is on its volume", ready, timeout=180)

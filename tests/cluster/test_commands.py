"""The commands of README and docs, word by word, from the installation to its end, on a cluster of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import devcluster
import pytest
import yaml
from devcluster import tools
from devcluster.registry import registry
from images.release import VALUES, package
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import NAME, NAMESPACE, install, of_pod
from tests.cluster.operator_process import OperatorProcess
from tests.distribution.named import NAME as REGISTRY
from tests.distribution.named import reached_as
from tests.documents.shell import Shell
from tests.documents.shell import shell as documents_shell
from tests.documents.snippets import ROOT, blocks, documented


@pytest.fixture(scope="module")
def its_cluster() -> Iterator[devcluster.Cluster]:
    """Nothing of ours is installed here yet."""
    with devcluster.cluster(nodes=1, gpus_per_node=8, fake_download_report=COMPLETE) as it:
        yield it


@pytest.fixture(scope="module")
def shell(
    its_cluster: devcluster.Cluster, to_the_registry: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Shell:
    """Run a command in the repository, as a person whose kubectl and helm know this cluster; what it prints."""
    return _shell(its_cluster, tmp_path_factory.mktemp("bin"), to_the_registry)


@pytest.fixture
def fresh_shell(tmp_path: Path) -> Iterator[Shell]:
    """The same on a cluster of the test's own. Another installation's CRDs are not deleted for it: what a CRD's
    deletion waits for is the API server's, which tries one that it left half done every five minutes only.
    """
    with devcluster.cluster(nodes=1) as it:
        yield _shell(it, tmp_path / "bin")


def _shell(cluster: devcluster.Cluster, programs: Path, variables: dict[str, str] | None = None) -> Shell:
    names, variables = ("kubectl", "helm"), {"HOME": str(programs)} | (variables or {})
    return documents_shell(programs, cluster.kubeconfig, names=names, variables=variables)


@pytest.fixture(scope="module")
def to_the_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with which helm finds registry.example, where the chart of this checkout is. Simulated nodes pull
    nothing, so there are no images."""
    folder = tmp_path_factory.mktemp("registry")
    chart = package(f"{REGISTRY}/team", dict.fromkeys(VALUES, f"sha256:{'1' * 64}"), folder)
    with registry(folder / "content", names=[REGISTRY]) as it, reached_as(REGISTRY, it) as variables:
        words = [str(tools.ensure(["helm"])["helm"]), "push", str(chart), f"oci://{REGISTRY}/team/charts"]
        done = subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield variables


def test_without_crds_it_ends_in_words(its_cluster: devcluster.Cluster, tmp_path: Path) -> None:
    """Comes first: helm brings them."""
    early = install(its_cluster, tmp_path, name="early-qwen3-operator", namespace="early-system")
    operator = early.operator(tmp_path / "operator.log")
    operator.launch()
    assert operator.wait(60) == 1
    log = operator.log.read_text()
    assert "install the CRDs" in log
    assert "Traceback" not in log


def test_from_the_installation_to_its_end(shell: Shell, its_cluster: devcluster.Cluster, tmp_path: Path) -> None:
    installed = documented(
        "helm install qwen3-operator oci://registry.example/team/charts/qwen3-operator --version 0.1.0 "
        "--namespace qwen3-system --create-namespace"
    )
    notes = shell(installed)
    assert "STATUS: deployed" in notes and "serves all namespaces" in notes
    sample = notes.partition("kubectl apply -n default -f - <<EOF")[2].partition("EOF")[0]
    (tmp_path / "notes.yaml").write_text(sample)
    shell("kubectl wait --for=condition=Established crd --all --timeout=20s")
    assert "qwen3-8b created" in shell(f"kubectl apply --dry-run=server -f {tmp_path}/notes.yaml")
    shell(documented("kubectl -n qwen3-system rollout status deployment/qwen3-operator --timeout=5m"))
    deployment = json.loads(shell(f"kubectl -n {NAMESPACE} get deployment {NAME} -o json"))
    kubeconfig, settings = of_pod(its_cluster, deployment, tmp_path / "kubeconfig")
    operator = OperatorProcess(kubeconfig, tmp_path / "operator.log", **settings)
    operator.start()
    try:
        _serve(shell)
        _upgrade(shell)
    finally:
        operator.stop()
    shell(documented("helm uninstall qwen3-operator --namespace qwen3-system"))
    assert NAME not in shell(f"kubectl -n {NAMESPACE} get deployments,serviceaccounts,roles -o name")
    assert "qwen3deployments.serving.qwen3.dev" in shell("kubectl get crd -o name"), "they stay"
    _take_over(shell)


def _serve(shell: Shell) -> None:
    """The README between installation and end."""
    sample = next(text for where, text in blocks("yaml") if where.startswith("README.md"))
    assert yaml.safe_load(sample) == yaml.safe_load((ROOT / "examples/qwen3-8b.yaml").read_text())
    shell(documented("kubectl apply -f examples/qwen3-8b.yaml"))
    ready = documented("kubectl wait --for=condition=Ready qwen3deployment/qwen3-8b --timeout=30m")
    assert "condition met" in shell(ready)
    printed = shell(documented("kubectl get qwen3deployment qwen3-8b")).split()
    assert {"READY", "REASON", "LENGTH", "TP", "REPLICAS", "True", "8192"} <= set(printed)
    models = shell(documented("kubectl get q3m")).splitlines()
    assert "True" in models[1]
    shown = shell(documented("kubectl describe q3m NAME").replace("NAME", models[1].split()[0]))
    assert "Verified" in shown
    shell(documented("kubectl delete qwen3deployments --all --all-namespaces"))
    assert not shell("kubectl get qwen3deployments --all-namespaces -o name")


def _upgrade(shell: Shell) -> None:
    """To the same version, with a value that somebody had set, and back."""
    shell(f"helm upgrade {NAME} oci://{REGISTRY}/team/charts/qwen3-operator -n {NAMESPACE} --set settings.workers=3")
    upgraded = documented(
        "helm upgrade qwen3-operator oci://registry.example/team/charts/qwen3-operator --version 0.1.0 "
        "--namespace qwen3-system --reset-then-reuse-values"
    )
    shell(upgraded)
    get = f"kubectl -n {NAMESPACE} get deployment {NAME} -o json"
    assert '{"name": "QWEN3_OPERATOR_WORKERS", "value": "3"}' in json.dumps(json.loads(shell(get)))
    history = shell(documented("helm history qwen3-operator --namespace qwen3-system"))
    assert history.count("superseded") == 2
    shell(documented("helm rollback qwen3-operator --namespace qwen3-system"))


def _take_over(shell: Shell) -> None:
    """A release of another name takes the CRDs: they are of the one that was uninstalled, and kept."""
    install = f"helm install another oci://{REGISTRY}/team/charts/qwen3-operator -n another --create-namespace"
    with pytest.raises(AssertionError, match="invalid ownership metadata"):
        shell(install)
    assert "STATUS: deployed" in shell(f"{install} --take-ownership")
    shell("helm uninstall another -n another")
    assert "qwen3deployments.serving.qwen3.dev" in shell("kubectl get crd -o name")


def test_manifests_for_kubectl(fresh_shell: Shell) -> None:
    """What the kustomize base renders is taken by the API server, CRDs included."""
    shell = fresh_shell
    rendered = shell(documented("kubectl kustomize deploy/example"))
    assert "image: registry.example/team/qwen3-operator:0.1.0" in rendered
    assert "value: registry.example/team/qwen3-downloader:0.1.0" in rendered
    made = shell("kubectl apply --server-side -k deploy/example").splitlines()
    assert sum("customresourcedefinition" in line for line in made) == 3
    shell(documented("kubectl -n qwen3-system rollout status deployment/qwen3-operator"))


def test_an_installation_with_images_of_ones_own(fresh_shell: Shell) -> None:
    shell = fresh_shell
    installed = documented(
        "helm install qwen3-operator charts/qwen3-operator --namespace qwen3-system --create-namespace "
        "--set image.repository=registry.example/team/qwen3-operator --set image.tag=0.1.0 "
        "--set downloaderImage.repository=registry.example/team/qwen3-downloader --set downloaderImage.tag=0.1.0"
    )
    shell(installed)
    pod = shell(f"kubectl -n {NAMESPACE} get deployment {NAME} -o json")
    assert '"registry.example/team/qwen3-operator:0.1.0"' in pod
    assert '"registry.example/team/qwen3-downloader:0.1.0"' in pod


def test_a_node_that_has_no_gpu_counts_two(shell: Shell) -> None:
    (node,) = shell("kubectl get nodes -o name").split()
    patch = documented(
        "kubectl patch node NAME --subresource=status --type=merge "
        """-p '{"status": {"capacity": {"nvidia.com/gpu": "2"}}}'"""
    )
    shell(patch.replace("NAME", node.removeprefix("node/")))
    capacity = json.loads(shell(f"kubectl get {node} -o json"))["status"]["capacity"]
    assert capacity["nvidia.com/gpu"] == "2"

"""The demo on a cluster that somebody gave it: it makes its own things, and touches nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
import yaml
from demo import manifests, ours, stage, target
from demo.kube import DemoError, Kube
from tests.chart.helm import CHART, IMAGES, flags, helm
from tests.cluster.wrappers import Q3d

pytestmark = pytest.mark.cluster

Object = dict[str, Any]
ROOT = CHART.parents[1]
README = "qwen3-operator", "qwen3-system"
"""Release and namespace, as the README installs it."""
KINDS = (
    *("namespaces", "persistentvolumes", "customresourcedefinitions", "clusterroles", "clusterrolebindings"),
    *("deployments", "services", "secrets", "configmaps", "serviceaccounts", "roles", "rolebindings"),
    *("persistentvolumeclaims", "pods"),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[devcluster.Cluster]:
    with devcluster.cluster(nodes=1) as it:
        yield it


@pytest.fixture(scope="module")
def kubeconfig(cluster: devcluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two files: the first one's context is in the second."""
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    first = tmp_path_factory.mktemp("kubeconfig") / "first"
    first.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": content["current-context"]})
    )
    del content["current-context"]
    second = first.with_name("second")
    second.write_text(yaml.safe_dump(content))
    return os.pathsep.join(map(str, (first, second)))


@pytest.fixture(scope="module")
def given(kubeconfig: str) -> target.Target:
    """What `make demo` makes of the two variables. Simulated nodes pull anything."""
    found = target.given({target.KUBECONFIG: kubeconfig, target.REGISTRY: "registry.example/team"})
    assert found is not None
    return found


@pytest.fixture
def kube(given: target.Target) -> Iterator[Kube]:
    """The cluster, as empty as it was before when the test is over."""
    yield given.kube
    given.kube.run("delete", "qwen3deployments", "--all", "-A") if _crds(given.kube) else None
    ours.remove(given.kube)
    for crd in _crds(given.kube):
        given.kube.run("delete", "customresourcedefinition", crd)


def demo(command: str, kubeconfig: str) -> subprocess.CompletedProcess[str]:
    """`make demo` or `make demo-down`, without make."""
    variables = {target.KUBECONFIG: kubeconfig, target.REGISTRY: "registry.example/team"}
    words = [sys.executable, "-m", "demo", command]
    if command == "down":
        del variables[target.REGISTRY]
    return subprocess.run(words, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=300)


def everything(kube: Kube) -> dict[tuple[str, ...], Object]:
    """Every object by kind, namespace and name, without what is only seen of it."""
    found = kube.get(",".join(KINDS), "--all-namespaces")["items"]
    return {
        (it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]): {
            key: value for key, value in it.items() if key not in ("metadata", "status")
        }
        | {key: it["metadata"].get(key) for key in ("uid", "generation", "labels", "deletionTimestamp", "annotations")}
        for it in found
    }


def test_the_release_of_the_readme_is_refused_and_left_as_it_is(
    kube: Kube, kubeconfig: str, cluster: devcluster.Cluster
) -> None:
    release, namespace = README
    where = ("--namespace", namespace)
    helm(
        "install",
        release,
        CHART,
        *where,
        *flags(*IMAGES),
        "--create-namespace",
        "--wait",
        kubeconfig=cluster.kubeconfig,
    )
    try:
        before = everything(kube)
        assert ("Deployment", namespace, release) in before
        done = demo("up", kubeconfig)
        assert done.returncode == 1
        assert "is of helm's release qwen3-operator in qwen3-system, not the demo's" in done.stderr
        assert "Traceback" not in done.stderr
        assert everything(kube) == before
        assert demo("down", kubeconfig).returncode == 0
        assert everything(kube) == before
    finally:
        helm("uninstall", release, *where, kubeconfig=cluster.kubeconfig)
        kube.run("delete", "namespace", namespace)


def test_crds_that_no_release_made_are_refused(kube: Kube, given: target.Target) -> None:
    kube.run("apply", "-f", str(ROOT / "crds"))
    before = everything(kube)
    with pytest.raises(DemoError, match="is not of a release of helm, not the demo's"):
        stage.install_at(given)
    assert ours.remove(kube) == []
    assert everything(kube) == before


@pytest.mark.parametrize("name", [manifests.NAMESPACE, manifests.SYSTEM_NAMESPACE, manifests.HUB_NAMESPACE, "more"])
def test_a_namespace_of_somebody_else_is_refused_and_stays(kube: Kube, given: target.Target, name: str) -> None:
    kube.run("create", "namespace", name)
    try:
        before = everything(kube)
        with pytest.raises(DemoError, match=f"the namespace {name} is there and the demo did not make it"):
            stage.install_at(given, "more")
        assert ours.remove(kube) == []
        assert everything(kube).keys() == before.keys()
    finally:
        kube.run("delete", "namespace", name)


def test_a_release_of_the_same_name_without_the_mark_is_refused(
    kube: Kube, given: target.Target, cluster: devcluster.Cluster
) -> None:
    """Also in a namespace of the demo: its owner put it there."""
    kube.apply([manifests.namespace(manifests.SYSTEM_NAMESPACE)])
    helm("install", ours.RELEASE, CHART, *ours.IN_RELEASE, *flags(*IMAGES), "--wait", kubeconfig=cluster.kubeconfig)
    try:
        with pytest.raises(DemoError, match=f"the release {ours.RELEASE} in {manifests.SYSTEM_NAMESPACE} is not"):
            stage.install_at(given)
    finally:
        helm("uninstall", ours.RELEASE, *ours.IN_RELEASE, kubeconfig=cluster.kubeconfig)


def test_it_serves_its_own_namespace_alone_and_leaves_nothing(
    kube: Kube, kubeconfig: str, given: target.Target
) -> None:
    kube.run("create", "namespace", "bystander")
    try:
        before = everything(kube)
        for _ in range(2):  # the second time is an upgrade
            stage.install_at(given)
        made = everything(kube).keys() - before.keys()
        assert {name for kind, _, name in made if kind == "Namespace"} == {
            *(manifests.NAMESPACE, manifests.SYSTEM_NAMESPACE, manifests.HUB_NAMESPACE)
        }
        operator = kube.get("deployment", ours.RELEASE, "-n", manifests.SYSTEM_NAMESPACE)
        (container,) = operator["spec"]["template"]["spec"]["containers"]
        assert {"name": "QWEN3_OPERATOR_NAMESPACES", "value": manifests.NAMESPACE} in container["env"]
        assert container["image"] == given.images["operator"]
        assert demo("down", kubeconfig).returncode == 0
        assert everything(kube).keys() == before.keys()
    finally:
        kube.run("delete", "namespace", "bystander")


def test_objects_of_others_keep_the_kinds(kube: Kube, given: target.Target, kubeconfig: str) -> None:
    """With a CustomResourceDefinition every object of its kind goes."""
    stage.install_at(given)
    kube.apply([Q3d("theirs", "default").manifest, Q3d("ours", manifests.NAMESPACE).manifest])
    done = demo("down", kubeconfig)
    assert done.returncode == 0
    assert "because of Qwen3Deployment default/theirs" in done.stdout
    assert kube.get("qwen3deployment", "theirs", "-n", "default")["metadata"]["name"] == "theirs"
    assert not [name for kind, _, name in everything(kube) if kind == "Namespace" and "demo" in name]


def _crds(kube: Kube) -> list[str]:
    found = kube.get("customresourcedefinitions")["items"]
    return [it["metadata"]["name"] for it in found if it["spec"]["group"] == ours.GROUP]

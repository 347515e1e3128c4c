"""The chart of c4bbbf7, which installed the operator before, is upgraded to the chart of this checkout, and back.

data/chart-c4bbbf7.tgz is what `helm package` made of it. The objects are those of the other tests here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import devcluster
import pytest
from tests.chart.helm import CHART, IMAGES, flags, helm
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import NAME, NAMESPACE, of_pod
from tests.cluster.operator_process import OperatorProcess
from tests.crds import crds as crds_on_file
from tests.kubernetes import newest_only
from tests.upgrade import golden, objects
from tests.upgrade.conftest import RESYNC_SECONDS
from tests.upgrade.takeover import wait_controllers, wait_idle

Object = dict[str, Any]
BEFORE = Path(__file__).parent / "data" / "chart-c4bbbf7.tgz"
OF_PODS = ("Pod", "ReplicaSet", "Job", "PersistentVolumeClaim", "PersistentVolume")


@dataclass(frozen=True)
class Installed:
    """A cluster where the chart of before was installed, and the objects of its operator are."""

    cluster: devcluster.Cluster
    api: Api

    def helm(self, *words: str | Path) -> str:
        return helm(*words, "--namespace", NAMESPACE, kubeconfig=self.cluster.kubeconfig)

    def upgrade(self) -> None:
        """As docs/upgrade.md says, to the chart of this checkout."""
        self.helm("upgrade", NAME, CHART, "--reset-then-reuse-values")

    def deployment(self) -> Object:
        found: Object = self.cluster.get("deployment", NAME, "-n", NAMESPACE)
        return found

    def crds(self) -> dict[str, Any]:
        """The schemas by the CRDs' names."""
        items = self.cluster.get("customresourcedefinitions", "-l", "app.kubernetes.io/part-of=qwen3-operator")["items"]
        return {it["metadata"]["name"]: it["spec"]["versions"] for it in items}

    def running(self) -> dict[str, str]:
        """What serves, loads and stores, by uid, as far as an upgrade may not touch it."""
        found = [it for it in golden.found(self.api) if it["kind"] in OF_PODS]
        assert found
        return {it["metadata"]["uid"]: json.dumps([it["spec"], _restarts(it)], sort_keys=True) for it in found}

    def specs(self) -> dict[str, Object]:
        """What users wrote, by uid."""
        found = [it for it in golden.found(self.api) if it["kind"] in golden.CUSTOM]
        return {it["metadata"]["uid"]: it["spec"] for it in found if not it["metadata"].get("ownerReferences")}


def _restarts(it: Object) -> list[int]:
    return [status["restartCount"] for status in (it.get("status") or {}).get("containerStatuses", [])]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    items = golden.aged(golden.load(), timedelta(minutes=1))
    with devcluster.cluster(nodes=4, gpus_per_node=8, fake_download_report=COMPLETE) as cluster:
        it = Installed(cluster, Api(cluster.kubeconfig))
        it.helm("install", NAME, BEFORE, "--create-namespace", *flags(*IMAGES, "settings.workers=3"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        cluster.kubectl("create", "namespace", objects.NAMESPACE)
        golden.restore(cluster, items)
        wait_controllers(it.api, items)
        yield it


@newest_only("it refuses the CRDs of before, whose rules read quantities too often")
def test_upgrade_rollback_and_upgrade(installed: Installed, tmp_path: Path) -> None:
    crds, running, specs = installed.crds(), installed.running(), installed.specs()
    assert len(crds) == 3 and specs

    installed.upgrade()
    new = installed.crds()
    on_file = crds_on_file()
    assert {name: fields(versions) for name, versions in new.items()} == {
        crd["metadata"]["name"]: fields(crd["spec"]["versions"]) for crd in on_file
    }
    deployment = installed.deployment()
    assert {"name": "QWEN3_OPERATOR_WORKERS", "value": "3"} in _environment(deployment), "what was set is kept"
    kubeconfig, settings = of_pod(installed.cluster, deployment, tmp_path / "kubeconfig")
    settings["resync_seconds"] = RESYNC_SECONDS
    operator = OperatorProcess(kubeconfig, tmp_path / "operator.log", **settings)
    operator.start()
    try:
        wait_idle(operator, installed.api)
    finally:
        operator.stop()
    assert installed.running() == running, "0 pods restarted, 0 Jobs made, no claim touched"

    installed.helm("rollback", NAME, "1")
    assert installed.crds() == crds
    assert {uid: spec for uid, spec in installed.specs().items() if spec != specs[uid]} == {}
    assert installed.running() == running

    installed.upgrade()
    assert installed.crds() == new
    assert installed.specs().keys() == specs.keys()
    assert installed.running() == running


def fields(versions: list[Object]) -> set[str]:
    """Paths of all fields of a CRD."""

    def of(schema: Object, path: str) -> Iterator[str]:
        for name, part in (schema.get("properties") or {}).items():
            yield f"{path}.{name}"
            yield from of(part, f"{path}.{name}")
        for part in (schema.get("items"), schema.get("additionalProperties")):
            if isinstance(part, dict):
                yield from of(part, f"{path}[]")

    return {path for version in versions for path in of(version["schema"]["openAPIV3Schema"], version["name"])}


def _environment(deployment: Object) -> list[Object]:
    environment: list[Object] = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return environment

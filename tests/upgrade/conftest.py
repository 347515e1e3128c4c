"""A cluster as the operator of c4bbbf7 left it, where the operator of this checkout has taken over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import devcluster
import pytest
import yaml
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.cluster.waiting import wait_until
from tests.upgrade import golden
from tests.upgrade.takeover import Takeover, wait_idle

ROOT = Path(__file__).parents[2]
AGES = {"a-minute-later": timedelta(minutes=1), "a-month-later": timedelta(days=30)}
"""When the new operator comes, after the last write of the old one. After a day the finished Jobs are gone."""
RESYNC_SECONDS = "3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="module", params=AGES)
def takeover(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Takeover]:
    """The objects before the new operator came, and after it has looked at all of them several times."""
    items = golden.aged(golden.load(), AGES[request.param])
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    with devcluster.cluster(nodes=4, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as cluster:
        cluster.apply(crds)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        cluster.kubectl("create", "namespace", golden.NAMESPACE)
        golden.restore(cluster, items)
        api = Api(cluster.kubeconfig)
        _wait_controllers(api, items)
        before = golden.found(api)
        folder = tmp_path_factory.mktemp("new")
        release = install(cluster, folder)
        operator = release.operator(folder / "operator.log", resync_seconds=RESYNC_SECONDS)
        operator.start()
        wait_idle(operator, api)
        after = golden.found(api)
        operator.stop()
        yield Takeover(items, before, after, cluster.requests(), release.user)


def _wait_controllers(api: Api, items: list[dict[str, Any]]) -> None:
    """Until the controllers are at work: the garbage collector has removed what it should, and Jobs whose time is over
    are gone."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "no-such", "uid": "00000000-0000-0000-0000-000000000000"}
    meta = {"name": "orphan", "namespace": golden.NAMESPACE, "ownerReferences": [owner]}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    wait_until(lambda: api.get("ConfigMap", golden.NAMESPACE, "orphan") is None, within=60, what="garbage is collected")
    expired = {it["metadata"]["uid"] for it in items if golden.is_expired(it)}
    wait_until(
        lambda: not expired & {job["metadata"]["uid"] for job in api.list("Job", golden.NAMESPACE)},
        within=60,
        what="finished Jobs are removed",
    )

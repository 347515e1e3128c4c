"""A cluster as the operator of c4bbbf7 left it, where the operator of this checkout has taken over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.crds import crds
from tests.upgrade import golden, objects
from tests.upgrade.takeover import Takeover, wait_controllers, wait_idle

ROOT = Path(__file__).parents[2]
AGES = {"a-minute-later": timedelta(minutes=1), "a-month-later": timedelta(days=30)}
"""When the new operator comes, after the last write of the old one. After a day the finished Jobs are gone."""
RESYNC_SECONDS = "3"


@pytest.fixture(scope="module", params=AGES)
def takeover(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Takeover]:
    """The objects before the new operator came, and after it has reconciled all of them several times."""
    items = golden.aged(golden.load(), AGES[request.param])
    with devcluster.cluster(nodes=4, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as cluster:
        cluster.apply(crds())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        cluster.kubectl("create", "namespace", objects.NAMESPACE)
        golden.restore(cluster, items)
        api = Api(cluster.kubeconfig)
        wait_controllers(api, items)
        before = golden.found(api)
        folder = tmp_path_factory.mktemp("new")
        release = install(cluster, folder)
        operator = release.operator(folder / "operator.log", resync_seconds=RESYNC_SECONDS)
        operator.start()
        wait_idle(operator, api)
        after = golden.found(api)
        operator.stop()
        yield Takeover(items, before, after, cluster.requests(), release.user)

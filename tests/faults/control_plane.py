"""The control plane of faults and fuzz: a plugin, so that both folders have the same one (see tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.cluster.rights import Ledger
from tests.crds import crds
from tests.faults.bench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, ledger: Ledger) -> Iterator[Bench]:
    """A control plane with our CRDs and the chart's Roles, and no operator."""
    folder = tmp_path_factory.mktemp("bench")
    with devcluster.cluster(nodes=8, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as cluster:
        cluster.apply(crds())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        narrow = install(cluster, folder, narrow=True)
        wide = install(cluster, folder, name="wide-qwen3-operator", namespace="wide-system")
        yield Bench(Api(cluster.kubeconfig), narrow, wide)
        ledger.read(cluster.requests(), [narrow.user, wide.user])

"""One control plane for the folder; each case has a namespace and operators of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.cluster.rights import Ledger
from tests.crds import crds
from tests.faults.bench import Bench

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches is reconciled each second, and news at once: one that waits would be taken for rest."""
    monkeypatch.setattr("qwen3_operator.reconcile.triggers.PATIENCE", {})
    for name in ("USERS_SECONDS", "PROGRESS_SECONDS"):
        monkeypatch.setattr(f"qwen3_operator.reconcile.triggers.{name}", 0.0)
    for module in ("deployment", "model"):
        monkeypatch.setattr(f"qwen3_operator.reconcile.{module}.TROUBLE_SECONDS", 1.0)

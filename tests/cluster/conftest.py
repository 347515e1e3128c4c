"""One control plane with simulated GPU nodes and one operator for the whole session, one namespace a test.

The operator has the rights that the chart gives it, for the whole cluster. With pytest-xdist each worker is such a
session, so a test may stop the operator, or count all writes of the cluster.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import Release, install
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.rights import Ledger
from tests.cluster.world import World, WritesSince
from tests.crds import crds

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session", name="crds")
def the_crds() -> list[dict[str, Any]]:
    """The CRDs as they are installed."""
    return crds()


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[devcluster.Cluster]:
    """The control plane before the CRDs are there."""
    with devcluster.cluster(nodes=4, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as it:
        yield it


@pytest.fixture(scope="session")
def installs(
    bare_cluster: devcluster.Cluster, tmp_path_factory: pytest.TempPathFactory, ledger: Ledger
) -> Iterator[Callable[..., Release]]:
    """Install the chart's ServiceAccount and Roles; what each did is written down when the session ends."""
    made: list[Release] = []

    def it(*values: str, **options: Any) -> Release:
        made.append(install(bare_cluster, tmp_path_factory.mktemp("release"), *values, **options))
        ledger.granted |= made[-1].granted
        return made[-1]

    yield it
    ledger.read(bare_cluster.requests(), [release.user for release in made])


@pytest.fixture(scope="session")
def release(installs: Callable[..., Release]) -> Release:
    """The installation of the README."""
    return installs()


@pytest.fixture(scope="session")
def cluster(bare_cluster: devcluster.Cluster, crds: list[dict[str, Any]]) -> devcluster.Cluster:
    """The control plane with the CRDs installed."""
    bare_cluster.apply(crds)
    bare_cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    bare_cluster.kubectl("api-resources", "--cached=false")  # kubectl keeps what it learnt before
    return bare_cluster


@pytest.fixture(scope="session")
def api(cluster: devcluster.Cluster) -> Api:
    """The API server, as its administrator."""
    return Api(cluster.kubeconfig)


@pytest.fixture(scope="session")
def the_operator(
    cluster: devcluster.Cluster, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The one operator of the session."""
    it = release.operator(tmp_path_factory.mktemp("operator") / "operator.log")
    it.start()
    yield it
    if it.running:
        it.stop()


@pytest.fixture
def operator(the_operator: OperatorProcess) -> OperatorProcess:
    """The operator, at work; a test that stopped it may leave it so."""
    the_operator.keep_running()
    return the_operator


@pytest.fixture(scope="session")
def make_world(api: Api) -> Iterator[Callable[[str], World]]:
    """Make a namespace."""
    made = []

    def make(purpose: str) -> World:
        name = f"{purpose[:40]}-{uuid.uuid4().hex[:6]}"
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append(name)
        return World(api, name)

    yield make


@pytest.fixture
def world(api: Api, operator: OperatorProcess, make_world: Callable[[str], World]) -> Iterator[World]:
    """A namespace of the test's own, with the operator at work."""
    it = make_world("test")
    yield it
    _remove(api, it.namespace)


@pytest.fixture(scope="module")
def serving(api: Api, the_operator: OperatorProcess, make_world: Callable[[str], World]) -> Iterator[World]:
    """A namespace for a module's tests that share a Qwen3Deployment."""
    the_operator.keep_running()
    it = make_world("serving")
    yield it
    _remove(api, it.namespace)


@pytest.fixture
def writes_since(cluster: devcluster.Cluster) -> WritesSince:
    """The operator's writes in a world's namespace after a moment (time.time()), as words. Namespaces of other tests
    may be on their way out, and there it writes."""

    def since(world: World, moment: float) -> list[str]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06d}Z"
        return [
            f"{r['requestReceivedTimestamp']} {r['verb']} {r['requestURI']} -> {r['responseStatus']['code']}"
            for r in cluster.requests()
            if r["userAgent"].startswith(("qwen3-operator", "kopf"))
            and r["verb"] in ("create", "update", "patch", "delete", "deletecollection")
            and r["objectRef"].get("namespace") == world.namespace
            and r["requestReceivedTimestamp"] > stamp
        ]

    return since


def _remove(api: Api, namespace: str) -> None:
    """The namespace goes in the background; its GPUs are free at once."""
    for kind in ("Qwen3Deployment", "Qwen3Batch", "Qwen3Model"):
        for obj in api.list(kind, namespace):
            api.delete(kind, namespace, obj["metadata"]["name"])
    api.delete("Stage", None, f"download-{namespace}")
    api.delete("Namespace", None, namespace)

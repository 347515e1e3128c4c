"""A control plane with simulated GPU nodes, the operator with the chart's rights, and what syncs from Git."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.conftest import (
    api,
    bare_cluster,
    cluster,
    installs,
    make_world,
    operator,
    release,
    the_crds,
    the_operator,
    world,
)
from tests.cluster.world import World
from tests.documents.shell import Shell, shell
from tests.documents.snippets import documented
from tests.gitops.argo_cd import ArgoCd, argo_cd
from tests.gitops.repository import Repository

__all__ = [
    "api",
    "bare_cluster",
    "cluster",
    "installs",
    "make_world",
    "operator",
    "release",
    "the_crds",
    "the_operator",
    "world",
]


@pytest.fixture(scope="session")
def the_argo(cluster: devcluster.Cluster, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgoCd]:
    """Argo CD with our health checks, as docs/gitops.md has them given to it."""
    with argo_cd(cluster, api, tmp_path_factory.mktemp("argo")) as it:
        a_shell(cluster, tmp_path_factory.mktemp("shell"))(
            documented("kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argo-cd/argocd-cm.yaml")
        )
        yield it


@pytest.fixture
def argo(the_argo: ArgoCd, world: World) -> Iterator[ArgoCd]:
    """Argo CD for a test; its Applications go before what they made does."""
    yield the_argo
    while the_argo.made:
        the_argo.made.pop().delete()


@pytest.fixture(scope="session")
def make_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Repository]:
    """Make an empty Git repository."""
    return lambda: Repository(tmp_path_factory.mktemp("git") / "models")


@pytest.fixture
def repository(make_repository: Callable[[], Repository]) -> Repository:
    """An empty Git repository."""
    return make_repository()


def a_shell(cluster: devcluster.Cluster, folder: Path) -> Shell:
    """A shell of an administrator."""
    return shell(folder / "bin", cluster.kubeconfig)

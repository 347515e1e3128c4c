"""One real node with the operator, the hub and vLLM's CPU build for the whole session: what `make demo` has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import devcluster
import pytest
from demo import stage
from demo.kube import Kube
from tests.e2e.world import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the real node."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The cluster of KUBECONFIG, which then has the images already, or a development cluster."""
    built = stage.images()
    with contextlib.ExitStack() as stack:
        if theirs := os.environ.get("KUBECONFIG"):
            world = World(Kube(Path(theirs)), None)
        else:
            cluster = stack.enter_context(devcluster.cluster(real_node=True, real_gpus=2, audit=True))
            stage.load(built, cluster.load_image)
            world = World(Kube(cluster.kubeconfig), cluster)
        stage.install(world.kube, built)
        yield world

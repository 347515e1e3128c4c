"""One real node with the operator, the hub and vLLM's CPU build for the whole session: what `make demo` has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import devcluster
import pytest
from demo import stage, target
from demo.kube import Kube
from tests.e2e.world import MODELS_NAMESPACE, World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The cluster of DEMO_KUBECONFIG, whose nodes pull the images, or a development cluster."""
    with contextlib.ExitStack() as stack:
        if given := target.given():
            stage.install_at(given, MODELS_NAMESPACE)
            yield World(given.kube, None, stage.example(given.images))
        else:
            built = stage.images()
            cluster = stack.enter_context(devcluster.cluster(real_node=True, real_gpus=2, audit=True))
            stage.load(built, cluster.load_image)
            kube = Kube(cluster.kubeconfig)
            stage.install(kube, built)
            yield World(kube, cluster, stage.example())

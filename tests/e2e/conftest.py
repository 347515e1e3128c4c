"""One real node with the operator, the hub and vLLM's CPU build for the whole session: what `make demo` has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import devcluster
import pytest
import yaml
from demo import manifests, stage, target
from demo.kube import Kube
from tests.documents.shell import Shell, shell
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


@pytest.fixture
def person(world: World, tmp_path: Path) -> Shell:
    """Run a command as a person whose kubectl has the demo's namespace."""
    config = yaml.safe_load(Path(world.kube.kubeconfig).read_text())
    (current,) = (it for it in config["contexts"] if it["name"] == config["current-context"])
    current["context"]["namespace"] = manifests.NAMESPACE
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    return shell(tmp_path / "bin", tmp_path / "kubeconfig")

"""A fresh cluster over the storage of an old one: what was downloaded is there, and nothing is fetched again.

tests/e2e/test_backup.py has the volumes' and claims' objects saved as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import devcluster
import pytest
from demo import manifests, stage
from demo.kube import Kube, wait_until
from tests.documents.shell import Shell, shell
from tests.documents.snippets import documented
from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

NAMESPACE = manifests.NAMESPACE
NAME = "tiny"
"""Of the model, and so of its claim."""


@contextmanager
def fresh_cluster(volumes: Path) -> Iterator[World]:
    """A cluster with operator and hub, and a PersistentVolume for the claim of each folder of `volumes`."""
    built = stage.images()
    with devcluster.cluster(real_node=True) as cluster:
        stage.load(built, cluster.load_image)
        kube = Kube(cluster.kubeconfig)
        stage.install(kube, built)
        kube.apply([volume(folder) for folder in sorted(volumes.iterdir())])
        yield World(kube, cluster, stage.example())


def volume(folder: Path) -> dict[str, Any]:
    """The storage at `folder` for the claim of that name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": folder.name},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local-path",
            "claimRef": {"namespace": NAMESPACE, "name": folder.name},
            "hostPath": {"path": str(folder)},
        },
    }


def commit(world: World) -> str:
    """Of the model; empty where it is not Ready yet."""
    status = world.get("qwen3model", NAME).get("status", {})
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return str(status["model"]["commit"]) if ready else ""


def test_nothing_is_downloaded_again(tmp_path: Path) -> None:
    volumes = tmp_path / "volumes"
    (volumes / NAME).mkdir(parents=True)
    (volumes / NAME).chmod(0o777)  # a hostPath gets no fsGroup
    with fresh_cluster(volumes) as old:
        server = old.example(NAME)
        meta = {"name": NAME, "namespace": NAMESPACE, "labels": {"team": "ml"}}
        model = {"apiVersion": server["apiVersion"], "kind": "Qwen3Model", "metadata": meta}
        old.kube.apply([model | {"spec": server["spec"]["model"]}])
        first = wait_until("the download", lambda: commit(old), timeout=240)
        _backup(shell(tmp_path / "old", old.kube.kubeconfig, folder=tmp_path))
    saved = json.loads((tmp_path / "objects.json").read_text())
    assert saved["spec"].items() >= server["spec"]["model"].items()
    assert saved["metadata"]["labels"] == {"team": "ml"} and not {"status", "uid"} & {*saved, *saved["metadata"]}
    with fresh_cluster(volumes) as new, new.hub_requests() as requests:
        run = shell(tmp_path / "new", new.kube.kubeconfig, folder=tmp_path)
        run(documented("kubectl apply -f objects.json"))
        assert wait_until("the model", lambda: commit(new), timeout=240) == first
        assert requests("file") == []


def _backup(run: Shell) -> None:
    command = documented(
        "kubectl get qwen3deployments,qwen3models,qwen3batches --all-namespaces -o json | jq '.items[] | "
        "select(.metadata.ownerReferences | not) | {apiVersion, kind, metadata: (.metadata | "
        "{name, namespace, labels}), spec}' > objects.json"
    )
    run(command)

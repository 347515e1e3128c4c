"""Backup and restore by the commands of docs/operations.md: over the same volumes nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.kube import Kube, wait_until
from demo.manifests import HUB_NAMESPACE, namespace
from images.build import require_tools
from tests.documents.shell import Shell
from tests.documents.shell import shell as documents_shell
from tests.documents.snippets import documented
from tests.e2e.world import World

NAMESPACE = "qwen3-demo-backup"
WHERE = ("-n", NAMESPACE)
NAME = "kept"


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    """Run a command as a person whose kubectl knows this cluster, in a folder of his own; what it prints."""
    require_tools("jq")
    return documents_shell(tmp_path / "bin", world.kube.kubeconfig, folder=tmp_path)


@pytest.fixture
def kube(world: World) -> Iterator[Kube]:
    """A namespace whose weights outlive it."""
    if world.cluster is None:
        pytest.skip("deletes volumes' objects, and the operator of DEMO_KUBECONFIG serves no namespace of this test")
    world.kube.apply([namespace(NAMESPACE)])
    yield world.kube
    world.kube.run("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def condition(kube: Kube, type: str) -> str:
    found = kube.get("qwen3deployment", NAME, *WHERE).get("status", {}).get("conditions", [])
    return next((str(c["status"]) for c in found if c["type"] == type), "")


def only_here(file: Path) -> None:
    """Leave those objects of a backup that are of this test's namespace: others live on, and need no restore."""
    decoder, text, kept = json.JSONDecoder(), file.read_text(), []
    while text := text.lstrip():
        found, end = decoder.raw_decode(text)
        text = text[end:]
        if NAMESPACE in (found["metadata"].get("namespace"), found["spec"].get("claimRef", {}).get("namespace")):
            kept.append(json.dumps(found))
    file.write_text("\n".join(kept))


@pytest.mark.nightly  # two starts of a server beside those that every other test shares
def test_objects_over_the_same_volumes_download_nothing(world: World, kube: Kube, shell: Shell, tmp_path: Path) -> None:
    manifest = world.example(NAME, model=lambda it: it.update(storage={"size": "1Gi"}))
    manifest["metadata"]["namespace"] = NAMESPACE
    kube.apply([manifest | {"spec": manifest["spec"] | {"suspend": True}}])
    wait_until("the download", lambda: condition(kube, "ModelReady") == "True", timeout=120)
    shell(
        documented(
            "kubectl get qwen3deployments,qwen3models,qwen3batches --all-namespaces -o json | jq '.items[] | "
            "select(.metadata.ownerReferences | not) | {apiVersion, kind, metadata: (.metadata | "
            "{name, namespace, labels}), spec}' > objects.json"
        )
    )
    shell(
        documented(
            "kubectl get pvc --all-namespaces -l app.kubernetes.io/managed-by=qwen3-operator -o json | jq '.items[] | "
            "{apiVersion, kind, metadata: (.metadata | {name, namespace, labels}), spec}' > claims.json"
        )
    )
    shell(
        documented(
            "kubectl get pv -o json | jq --slurpfile claims claims.json '.items[] | "
            "select(.metadata.name | IN($claims[].spec.volumeName)) | {apiVersion, kind, "
            "metadata: {name: .metadata.name}, spec: (.spec | del(.claimRef.uid, .claimRef.resourceVersion) | "
            """.persistentVolumeReclaimPolicy = "Retain")}' > volumes.json"""
        )
    )
    for name in ("objects", "claims", "volumes"):
        only_here(tmp_path / f"{name}.json")
    (claim,) = kube.get("pvc", *WHERE)["items"]
    volume = claim["spec"]["volumeName"]
    keep = documented(
        """kubectl patch pv VOLUME --type=merge -p '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'"""
    )
    shell(keep.replace("VOLUME", volume))
    # What a cluster that is gone leaves behind: the bytes.
    kube.run("delete", "namespace", NAMESPACE, timeout=150)
    kube.run("delete", "pv", volume)
    kube.run("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=0")
    try:
        kube.apply([namespace(NAMESPACE)])
        shell(documented("kubectl apply -f volumes.json -f claims.json"))
        shell(documented("kubectl apply -f objects.json"))
        wait_until("the model, without a hub", lambda: condition(kube, "ModelReady") == "True", timeout=120)
    finally:
        kube.run("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=1")
        kube.run("-n", HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")
    (restored,) = kube.get("pvc", *WHERE)["items"]
    assert (restored["metadata"]["name"], restored["spec"]["volumeName"]) == (claim["metadata"]["name"], volume)
    (model,) = kube.get("qwen3models", *WHERE)["items"]
    assert model["metadata"]["ownerReferences"], "made anew by the operator"
    kube.run("delete", "qwen3deployment", NAME, *WHERE)
    kube.run("delete", "pvc", restored["metadata"]["name"], *WHERE)
    kube.run("delete", "pv", volume)

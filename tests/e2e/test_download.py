"""The download with real parts: sized by the hub, killed in the middle, visible, and verified where it was before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import Kube, wait_until
from demo.manifests import HUB_NAMESPACE, namespace
from tests.e2e.hub import slow_hub
from tests.e2e.world import EXAMPLE, World
from tests.e2e.world import MODELS_NAMESPACE as NAMESPACE

WHERE = ("-n", NAMESPACE)


@pytest.fixture(scope="module")
def kube(world: World) -> Iterator[Kube]:
    """A namespace of these tests' own, beside the one of the main job."""
    world.kube.apply([namespace(NAMESPACE)])
    yield world.kube
    world.kube.run("delete", "namespace", NAMESPACE, "--wait=false")


def apply(kube: Kube, name: str, **spec: Any) -> None:
    """A Qwen3Model of the tiny checkpoint."""
    kube.apply(
        [
            {
                "apiVersion": EXAMPLE["apiVersion"],
                "kind": "Qwen3Model",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"id": EXAMPLE["spec"]["model"]["id"], **spec},
            }
        ]
    )


def status(kube: Kube, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kube.get("qwen3model", name, *WHERE).get("status", {})
    return found


def condition(kube: Kube, name: str, kind: str) -> dict[str, Any]:
    conditions = status(kube, name).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def ready(kube: Kube, name: str, timeout: float = 90) -> dict[str, Any]:
    wait_until(f"{name} is ready", lambda: condition(kube, name, "Ready").get("status") == "True", timeout=timeout)
    return status(kube, name)


def download_pods(kube: Kube) -> list[dict[str, Any]]:
    pods: list[dict[str, Any]] = kube.get("pods", "-l", "serving.qwen3.dev/model=weights", *WHERE)["items"]
    return [p for p in pods if "--list" not in p["spec"]["containers"][0]["args"]]


def test_sized_killed_restarted_and_only_growing(world: World, kube: Kube) -> None:
    """No size is given and no catalogue knows the model: its size is asked for. In the middle of the download its pod
    is deleted, and so is the operator's."""
    already = len(world.operator_requests())
    seen: list[dict[str, Any]] = []
    with slow_hub(kube):
        apply(kube, "weights")
        killed = restarted = False
        until = time.monotonic() + 150
        while condition(kube, "weights", "Ready").get("status") != "True":
            assert time.monotonic() < until, status(kube, "weights")
            progress = status(kube, "weights").get("download", {})
            if progress.get("bytesTotal") and (not seen or progress != seen[-1]):
                seen.append(progress)
            share = progress.get("bytesDone", 0) / (progress.get("bytesTotal") or 1)
            if share > 0.2 and not killed:
                (pod,) = (p for p in download_pods(kube) if p["status"]["phase"] == "Running")
                kube.run("delete", "pod", pod["metadata"]["name"], "--wait=false", *WHERE)
                killed = True
            if share > 0.5 and not restarted:
                world.restart_operator()
                restarted = True
            time.sleep(0.5)
    assert killed and restarted
    final = status(kube, "weights")
    done = [progress["bytesDone"] for progress in [*seen, final["download"]] if "bytesDone" in progress]
    assert done == sorted(done) and len(set(done)) >= 4, done
    assert final["model"]["verifiedBy"] == "Hub" and final["model"]["bytes"] == done[-1]
    claim = kube.get("pvc", "weights", *WHERE)
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    if requests_made := world.operator_requests()[already:]:
        ours = [r for r in requests_made if r["objectRef"].get("namespace") == NAMESPACE]
        written = [r for r in ours if r["verb"] == "patch" and r["objectRef"].get("subresource") == "status"]
        read = [r for r in ours if r["objectRef"].get("subresource") == "log"]
        assert len(written) <= 25, "a write each 5 s of progress, and those of another step"
        assert len(read) <= 40


def test_a_node_that_restarts_in_the_middle(world: World, kube: Kube) -> None:
    """Download, hub and operator die with it; the Job's next pod goes on. (A file of less than a block, 4 MiB, is
    fetched anew; that larger ones go on at the byte is shown in tests/download.)"""
    if world.cluster is None:
        pytest.skip("the node of a cluster of DEMO_KUBECONFIG is not ours to restart")

    def done() -> int:
        return int(status(kube, "restarted").get("download", {}).get("bytesDone") or 0)

    with slow_hub(kube):
        apply(kube, "restarted")
        wait_until("the middle of the download", lambda: done() > 200_000, timeout=60)
        seen = [done()]
        world.cluster.restart_node()
        until = time.monotonic() + 180
        while condition(kube, "restarted", "Ready").get("status") != "True":
            assert time.monotonic() < until, status(kube, "restarted")
            seen.append(done())
            time.sleep(0.5)
        kube.run("-n", HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")
    final = status(kube, "restarted")
    assert seen == sorted(seen) and final["download"]["bytesDone"] == final["model"]["bytes"]
    pods = kube.get("pods", "-l", "serving.qwen3.dev/model=restarted", *WHERE)["items"]
    ended = [p["status"]["phase"] for p in pods if "--list" not in p["spec"]["containers"][0]["args"]]
    assert sorted(ended) == ["Failed", "Succeeded"], "the one that died with the node, and the next"


def test_what_is_there_is_verified_by_the_best_witness(world: World, kube: Kube) -> None:
    there = {"name": "weights", "path": status(kube, "weights")["model"]["path"]}
    apply(kube, "again", storage={"existingClaim": there})
    assert ready(kube, "again")["model"]["verifiedBy"] == "Hub"
    kube.run("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=0")
    try:
        apply(kube, "offline", storage={"existingClaim": there})
        found = ready(kube, "offline")
        assert found["model"]["verifiedBy"] == "Marker"
        assert found["model"]["commit"] == status(kube, "weights")["model"]["commit"]
        assert "the marker of its download" in condition(kube, "offline", "Downloaded")["message"]
    finally:
        kube.run("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=1")
        kube.run("-n", HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")
    pods = kube.get("pods", "-l", "serving.qwen3.dev/model=offline", *WHERE)["items"]
    assert all('"readOnly": true' in json.dumps(pod["spec"]["volumes"]) for pod in pods)


def test_another_revision_frees_the_one_before(world: World, kube: Kube) -> None:
    kube.run("delete", "qwen3model", "again", "offline", *WHERE)  # they are on that folder too
    before = status(kube, "weights")["model"]
    kube.run(
        "patch",
        "qwen3model",
        "weights",
        "--type=merge",
        "-p",
        json.dumps({"spec": {"revision": before["commit"]}}),
        *WHERE,
    )

    def moved() -> bool:
        now = status(kube, "weights")
        return now["model"]["path"] != before["path"] and not now.get("superseded")

    wait_until("the folder before is freed", moved, timeout=90)
    removed = [
        json.loads(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
        for pod in kube.get("pods", "-l", "serving.qwen3.dev/model=weights", *WHERE)["items"]
        if "--remove" in pod["spec"]["containers"][0]["args"]
    ]
    # The new folder has links to the same files: only what it does not share becomes free.
    (report,) = removed
    assert 0 < report["bytes"] < before["bytes"] // 10
    assert status(kube, "weights")["model"]["bytes"] == before["bytes"]

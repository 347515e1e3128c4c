"""An autoscaler owns spec.replicas, Git the rest: neither takes anything from the other."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.api import KINDS
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d
from tests.gitops.argo_cd import APPLICATIONS, Application, ArgoCd, documented_manifest
from tests.gitops.repository import Repository
from tests.gitops.test_argo_cd import fitting, servers, version, without_diff

from qwen3_operator.controller.kinds import Kind

AUTOSCALERS = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
LEAST = 2
AUTOSCALER = {
    "apiVersion": AUTOSCALERS.api_version,
    "kind": AUTOSCALERS.kind,
    "metadata": {"name": "chat"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": "Qwen3Deployment", "name": "chat"},
        # Below this number it scales without asking for any metric.
        "minReplicas": LEAST,
        "maxReplicas": 4,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ],
    },
}
HPA_SECONDS = 60.0
"""It checks every 15 s."""


def documented_policy() -> dict[str, Any]:
    """The parts of docs/gitops.md's Application that leave the replicas alone."""
    spec = documented_manifest(APPLICATIONS.kind)["spec"]
    return {"ignored": spec["ignoreDifferences"], "options": tuple(spec["syncPolicy"]["syncOptions"])}


def in_git(replicas: int | None, context: int = 1024) -> Q3d:
    """What is in Git, with a number to start with or without."""
    made = fitting().engine(maxModelLen=context)
    return made if replicas is None else made.set(replicas=replicas)


def replicas(world: World) -> int:
    """What the spec says now."""
    return int(world.must("Qwen3Deployment", "chat")["spec"]["replicas"])


@pytest.fixture(params=[None, 1], ids=["not in Git", "in Git and ignored"])
def start(request: pytest.FixtureRequest) -> int | None:
    """spec.replicas in Git."""
    found: int | None = request.param
    return found


@pytest.fixture
def synced(argo: ArgoCd, world: World, repository: Repository, start: int | None) -> Application:
    """A Qwen3Deployment of one server, in the way that the document says."""
    commit = repository.commit({"it/chat.yaml": [in_git(start).manifest]})
    policy = {} if start is None else documented_policy()
    app = argo.sync(repository, "it", world.namespace, **policy)
    app.wait("Healthy", commit=commit)
    assert replicas(world) == 1
    return app


def keeps_what_was_scaled(
    app: Application, world: World, repository: Repository, start: int | None, scale: Callable[[], None], wanted: int
) -> None:
    """After `scale`, through comparisons and through the sync of another edit."""
    since = version(app.get())
    scale()
    world.wait(lambda: replicas(world) == wanted and len(servers(world)) == wanted, "scaled", within=HPA_SECONDS)
    generation = world.must("Qwen3Deployment", "chat")["metadata"]["generation"]
    for _ in range(5):
        app.refresh("hard")
    app.wait("Healthy")
    without_diff(app, since)
    commit = repository.commit({"it/chat.yaml": [in_git(start, context=2048).manifest]})
    app.wait("Healthy", commit=commit)
    after = world.must("Qwen3Deployment", "chat")
    assert after["spec"]["engine"]["maxModelLen"] == 2048 and replicas(world) == wanted
    assert after["metadata"]["generation"] == generation + 1, "the edit is the one change of the spec"


def test_kubectl_scale(synced: Application, world: World, repository: Repository, start: int | None) -> None:
    path = KINDS["Qwen3Deployment"].path(world.namespace, "chat", "scale")

    def scale() -> None:
        found = copy.deepcopy(world.api.request("GET", path))
        found["spec"]["replicas"] = 3
        world.api.request("PUT", path, found)

    keeps_what_was_scaled(synced, world, repository, start, scale, 3)


def test_a_horizontal_pod_autoscaler(
    synced: Application, world: World, repository: Repository, start: int | None
) -> None:
    """The real one: it brings the servers to its minimum, and there they stay when it checks again."""

    def scale() -> None:
        world.api.request("POST", AUTOSCALERS.path(world.namespace), AUTOSCALER)

    keeps_what_was_scaled(synced, world, repository, start, scale, LEAST)
    before = world.must("Qwen3Deployment", "chat")["metadata"]["generation"]
    seen: dict[str, Any] = world.api.request("GET", AUTOSCALERS.path(world.namespace, "chat"))["status"]
    until = time.monotonic() + 20  # it has checked again
    while time.monotonic() < until:
        synced.refresh()
        time.sleep(2)
    assert world.must("Qwen3Deployment", "chat")["metadata"]["generation"] == before, seen
    assert replicas(world) == LEAST

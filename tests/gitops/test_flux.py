"""Flux applies and prunes from Git what our operator reconciles, and waits for it by kstatus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
import yaml
from tests.cluster.api import KINDS, Api
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.documents.snippets import blocks
from tests.gitops.flux import KUSTOMIZATIONS, Flux, flux
from tests.gitops.repository import Repository
from tests.gitops.test_argo_cd import TOO_LONG, children, fitting, servers


@pytest.fixture(scope="module")
def controller(cluster: devcluster.Cluster, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flux]:
    """kustomize-controller."""
    with flux(cluster, api, tmp_path_factory.mktemp("flux")) as it:
        yield it


def documented_spec(world: World, **more: Any) -> dict[str, Any]:
    """Of the Kustomization in docs/gitops.md, for the namespace of a test."""
    shown = [yaml.safe_load(text) for where, text in blocks("yaml") if where.startswith("gitops.md")]
    (found,) = [it["spec"] for it in shown if it["kind"] == KUSTOMIZATIONS.kind]
    return {**found, "targetNamespace": world.namespace, **more}


def test_it_waits_for_the_servers_and_tells_what_a_person_must_do(
    controller: Flux, world: World, repository: Repository
) -> None:
    commit = repository.commit({"models/chat.yaml": [fitting().manifest]})
    controller.commit(world.namespace, repository, commit)
    controller.kustomization(world.namespace, documented_spec(world))
    controller.wait(world.namespace, "True", commit=commit)
    assert world.is_ready("chat"), "it was told so when the servers were up"
    first = servers(world)

    commit = repository.commit({"models/chat.yaml": [fitting().engine(maxModelLen=2048).manifest]})
    controller.commit(world.namespace, repository, commit)
    controller.wait(world.namespace, "True", commit=commit)
    assert world.is_ready("chat") and not servers(world) & first, "the roll-out is over"

    commit = repository.commit({"models/chat.yaml": [fitting().engine(maxModelLen=TOO_LONG).manifest]})
    controller.commit(world.namespace, repository, commit)
    told = controller.wait(world.namespace, "False", commit=commit, reason="HealthCheckFailed")
    assert "chat" in told["message"] and "Failed" in told["message"]


def test_it_changes_nothing_at_rest_and_prunes_what_left_git(
    controller: Flux, world: World, repository: Repository
) -> None:
    gone = fitting()
    gone.manifest["metadata"]["name"] = "gone"
    commit = repository.commit({"models/chat.yaml": [fitting().manifest], "models/gone.yaml": [gone.manifest]})
    controller.commit(world.namespace, repository, commit)
    controller.kustomization(world.namespace, documented_spec(world, interval="3s"))
    controller.wait(world.namespace, "True", commit=commit)
    before, made = world.must("Qwen3Deployment", "chat")["metadata"]["generation"], children(world)
    stays(lambda: children(world) == made, seconds=10)
    assert world.must("Qwen3Deployment", "chat")["metadata"]["generation"] == before

    commit = repository.remove("models/gone.yaml")
    controller.commit(world.namespace, repository, commit)
    controller.wait(world.namespace, "True", commit=commit)
    for kind in ("Qwen3Deployment", "Deployment", "Service"):
        world.wait_gone(kind, "gone")
    kept = {key: uid for key, uid in made.items() if "chat" in key or shared_name(fitting()) in key}
    assert kept.items() <= children(world).items()


def test_it_leaves_the_replicas_alone_that_are_not_in_git(
    controller: Flux, world: World, repository: Repository
) -> None:
    commit = repository.commit({"models/chat.yaml": [fitting().manifest]})
    controller.commit(world.namespace, repository, commit)
    controller.kustomization(world.namespace, documented_spec(world, interval="3s"))
    controller.wait(world.namespace, "True", commit=commit)
    path = KINDS["Qwen3Deployment"].path(world.namespace, "chat", "scale")
    scale = world.api.request("GET", path)
    scale["spec"]["replicas"] = 3
    world.api.request("PUT", path, scale)
    stays(lambda: world.must("Qwen3Deployment", "chat")["spec"]["replicas"] == 3, seconds=10)
    world.wait(lambda: len(servers(world)) == 3)

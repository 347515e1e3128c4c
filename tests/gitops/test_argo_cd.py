"""Argo CD syncs from Git what our operator reconciles: neither takes the other's changes for its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m
from tests.documents.snippets import ROOT
from tests.gitops.argo_cd import NAMESPACE, STRICT, Application, ArgoCd
from tests.gitops.repository import Repository

COMPARISONS = 10
ORPHANS = "OrphanedResourceWarning"
TOO_LONG = 40960
"""Of Qwen3-0.6B, on a GPU of 4 GiB."""
SERVER_SIDE = {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}


def fitting() -> Q3d:
    """A Qwen3Deployment that fits, until its context is TOO_LONG."""
    return Q3d().set(gpu={"memory": "4Gi"}).engine(maxModelLen=1024)


def servers(world: World) -> set[str]:
    """uids of the servers' pods."""
    pods = world.list("Pod", labelSelector="app.kubernetes.io/component=server")
    return {pod["metadata"]["uid"] for pod in pods}


def one_server(world: World) -> set[str]:
    """The uid of the one server, when others have gone."""
    return world.wait(lambda: found if len(found := servers(world)) == 1 else set(), "one server")


def children(world: World) -> dict[str, str]:
    """What stands in the namespace, with its uid."""
    kinds = ("Qwen3Model", "Deployment", "Service", "Job", "PersistentVolumeClaim", "ConfigMap", "Secret")
    found = [(kind, obj["metadata"]) for kind in kinds for obj in world.list(kind)]
    return {f"{kind} {meta['name']}": meta["uid"] for kind, meta in found}


def without_diff(app: Application, since: str) -> None:
    """It was Synced in every version after that resourceVersion."""
    seen = app.history(since)
    assert {it["status"]["sync"]["status"] for it in seen} == {"Synced"}, [it["status"]["sync"] for it in seen]


def version(obj: dict[str, Any]) -> str:
    """Its resourceVersion."""
    return str(obj["metadata"]["resourceVersion"])


def test_each_health_is_that_of_the_real_object(argo: ArgoCd, world: World, repository: Repository) -> None:
    slow = Q3d("slow").model("Qwen/Qwen3-1.7B")
    world.api.apply(stage(world.namespace, NEVER_ENDS, only_job_of=shared_name(slow)))
    wanted = {
        "Healthy": fitting(),
        "Progressing": slow,
        "Degraded": fitting().engine(maxModelLen=TOO_LONG),
        "Suspended": Q3d("idle").set(suspend=True),
    }
    wanted["Degraded"].manifest["metadata"]["name"] = "wide"
    repository.commit({f"{health}/it.yaml": [it.manifest] for health, it in wanted.items()})
    for health, it in wanted.items():
        app = argo.sync(repository, health, world.namespace, name=f"{world.namespace}-{health.lower()}")
        app.wait(health)
        name = it.manifest["metadata"]["name"]

        def says_the_same(app: Application = app, health: str = health, name: str = name) -> bool:
            said = world.condition(name, "Stalled" if health == "Degraded" else "Ready")
            return app.health_of("Qwen3Deployment", name) == (health, said["message"])

        world.wait(says_the_same, f"Argo CD says of {name} what it says itself", within=30)
    assert world.get("Deployment", "wide") is None, "a server that does not fit is not made"


SOURCES: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": lambda: {"it/chat.yaml": [fitting().manifest], "it/weights.yaml": [Q3m().manifest]},
    "kustomize": lambda: {
        "base/chat.yaml": [fitting().manifest],
        "base/kustomization.yaml": [{"resources": ["chat.yaml"]}],
        "it/kustomization.yaml": [
            {"resources": ["../base"], "labels": [{"pairs": {"team": "ours"}}], "namePrefix": "our-"}
        ],
    },
    "helm": lambda: {
        "it/Chart.yaml": [{"apiVersion": "v2", "name": "chat", "version": "0.1.0"}],
        "it/values.yaml": [{"context": 1024}],
        "it/templates/chat.yaml": json.dumps(fitting().manifest).replace("1024", "{{ .Values.context }}"),
    },
}


@pytest.mark.parametrize("compared", ["by its fields", "by the API server"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_diff_at_rest(argo: ArgoCd, world: World, repository: Repository, source: str, compared: str) -> None:
    """The operator writes its status all the time, and nothing that it made is an orphan or Argo CD's to prune."""
    commit = repository.commit(SOURCES[source]())
    options, annotations = (("ServerSideApply=true",), SERVER_SIDE) if compared == "by the API server" else ((), {})
    app = argo.sync(repository, "it", world.namespace, options=options, annotations=annotations)
    app.wait("Healthy", commit=commit)
    name = "our-chat" if source == "kustomize" else "chat"
    (pod,) = world.list("Pod", labelSelector="app.kubernetes.io/component=server")
    before, made, start = world.must("Qwen3Deployment", name), children(world), version(app.get())
    for comparison in range(COMPARISONS):
        ready = "true" if comparison % 2 else "false"
        note = {"metadata": {"annotations": {"devcluster.qwen3.dev/ready": ready}}}
        world.patch("Pod", pod["metadata"]["name"], note)
        world.wait_condition(name, "Ready", ready.title())
        assert app.refresh("hard")["sync"]["status"] == "Synced"
    app.wait("Healthy")
    without_diff(app, start)
    after = world.must("Qwen3Deployment", name)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] and version(after) != version(before)
    assert children(world) == made and servers(world) == {pod["metadata"]["uid"]}
    assert app.conditions() == {}


@pytest.mark.parametrize("compared", ["by its fields", "by the API server"])
def test_no_example_makes_a_diff(argo: ArgoCd, world: World, repository: Repository, compared: str) -> None:
    """Neither the CRDs' defaults nor their normal forms are changes."""
    files = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.yaml")}
    commit = repository.commit({f"all/{name}": text for name, text in files.items()})
    annotations = SERVER_SIDE if compared == "by the API server" else {}
    app = argo.sync(repository, "all", world.namespace, annotations=annotations)
    world.wait(lambda: app.status["sync"]["revision"] == commit and app.sync_status == "Synced", within=60)
    start = version(app.get())
    for _ in range(3):
        app.refresh("hard")
    without_diff(app, start)
    count = sum(len(list(yaml.safe_load_all(text))) for text in files.values())
    assert len(app.status["resources"]) == count


def test_an_edit_in_git_rolls_out(argo: ArgoCd, world: World, repository: Repository) -> None:
    commit = repository.commit({"it/chat.yaml": [fitting().manifest]})
    app = argo.sync(repository, "it", world.namespace)
    app.wait("Healthy", commit=commit)
    first = one_server(world)

    commit = repository.commit({"it/chat.yaml": [fitting().engine(maxModelLen=2048).manifest]})
    app.wait("Healthy", commit=commit)
    second = one_server(world)
    assert not second & first, "the server was replaced"

    commit = repository.commit({"it/chat.yaml": [fitting().engine(maxModelLen=TOO_LONG).manifest]})
    app.wait("Degraded", commit=commit)
    _, message = app.health_of("Qwen3Deployment", "chat")
    assert message == world.condition("chat", "Stalled")["message"]
    assert str(TOO_LONG) in message and "go on" in message
    assert servers(world) == second, "what serves goes on"

    commit = repository.commit({"it/chat.yaml": [fitting().engine(maxModelLen=2048).manifest]})
    app.wait("Healthy", commit=commit)
    assert servers(world) == second


def test_what_a_person_changed_is_healed(argo: ArgoCd, world: World, repository: Repository) -> None:
    commit = repository.commit({"it/chat.yaml": [fitting().manifest]})
    app = argo.sync(repository, "it", world.namespace)
    app.wait("Healthy", commit=commit)
    world.set_spec("chat", suspend=True, engine={"maxModelLen": 2048})
    world.wait(
        lambda: world.must("Qwen3Deployment", "chat")["spec"]["engine"]["maxModelLen"] == 1024, "healed", within=60
    )
    # `suspend` is not in Git: it is the person's.
    assert world.must("Qwen3Deployment", "chat")["spec"]["suspend"] is True
    world.set_spec("chat", suspend=False)
    world.wait_ready("chat")
    one_server(world)
    app.wait("Healthy")


def test_only_what_left_git_is_pruned(argo: ArgoCd, world: World, repository: Repository) -> None:
    """With what it owned; the other goes on. A claim that is to be kept is what nobody owns."""
    gone = Q3d("gone").model("Qwen/Qwen3-1.7B")
    repository.commit({"it/chat.yaml": [fitting().manifest], "it/gone.yaml": [gone.manifest]})
    app = argo.sync(repository, "it", world.namespace)
    app.wait("Healthy")
    ours = {key: uid for key, uid in children(world).items() if "chat" in key or shared_name(fitting()) in key}
    start = version(app.get())
    commit = repository.remove("it/gone.yaml")
    app.wait("Healthy", commit=commit)
    for kind in ("Qwen3Deployment", "Deployment", "Service"):
        world.wait_gone(kind, "gone")
    world.wait_gone("Qwen3Model", shared_name(gone))
    assert not world.must("PersistentVolumeClaim", shared_name(gone))["metadata"].get("ownerReferences")
    assert {key: uid for key, uid in children(world).items() if key in ours} == ours
    app.refresh()
    assert app.conditions() == {}
    seen = {it["status"]["health"]["status"] for it in app.history(start)}
    assert seen <= {"Healthy", "Progressing"}, "what is being pruned is Progressing"


def test_orphans_are_the_claims_that_are_kept(argo: ArgoCd, world: World, repository: Repository) -> None:
    """And nothing else, where a project passes nothing over."""
    deleted = Q3d().storage(retentionPolicy="Delete")
    commit = repository.commit({"it/chat.yaml": [deleted.manifest]})
    app = argo.sync(repository, "it", world.namespace, project=STRICT)
    app.wait("Healthy", commit=commit)
    assert app.refresh() and app.conditions() == {}
    commit = repository.commit({"it/chat.yaml": [deleted.storage(retentionPolicy="Retain").manifest]})
    app.wait("Healthy", commit=commit)
    world.wait(lambda: app.refresh() and app.conditions(), "the claim is an orphan", within=30)
    assert app.conditions() == {ORPHANS: "Application has 1 orphaned resources"}


def test_a_claim_that_is_kept_is_not_pruned_under_label_tracking(
    argo: ArgoCd, world: World, repository: Repository
) -> None:
    """Where Argo CD knows its own by app.kubernetes.io/instance, an Application may be called as a model is."""
    method = "application.resourceTrackingMethod"
    argo.api.patch("ConfigMap", NAMESPACE, "argocd-cm", {"data": {method: "label"}})
    try:
        weights = Q3m().storage(retentionPolicy="Retain")
        repository.commit({"it/weights.yaml": [weights.manifest], "it/note.yaml": [NOTE]})
        app = argo.sync(repository, "it", world.namespace, name="weights")
        app.wait("Healthy")
        claim = world.must("PersistentVolumeClaim", "weights")
        start = version(app.get())
        for _ in range(3):
            app.refresh("hard")
        without_diff(app, start)
        commit = repository.remove("it/weights.yaml")
        app.wait("Healthy", commit=commit)
        world.wait_gone("Qwen3Model", "weights")
        stays(lambda: world.get("PersistentVolumeClaim", "weights"), seconds=5)
        assert world.must("PersistentVolumeClaim", "weights")["metadata"]["uid"] == claim["metadata"]["uid"]
    finally:
        argo.api.patch("ConfigMap", NAMESPACE, "argocd-cm", {"data": {method: None}})


NOTE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"why": "there is always one"}}

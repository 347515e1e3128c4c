"""From apply to Ready, and away again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.cluster.downloads import COMMIT, COMPLETE, NEVER_ENDS, stage
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, MODEL_TYPES

Object = dict[str, Any]


def test_children_come_in_order(world: World) -> None:
    """Claim and Job at once; servers, which hold GPUs, only when the model is Ready."""
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    cr = Q3d()
    model = shared_name(cr)
    world.apply(cr)
    world.wait_condition("chat", "ModelReady", "False", reason="Downloading")
    world.must("PersistentVolumeClaim", model)
    (job,) = world.list("Job")
    assert job["metadata"]["ownerReferences"][0]["name"] == model
    stays(lambda: world.get("Deployment", "chat") is None, seconds=1.5, what="no servers while the download runs")
    assert world.condition("chat", "Ready")["reason"] == "Downloading"
    assert world.condition("chat", "Reconciling")["status"] == "True"

    _end_download(world)
    ready = world.wait_ready("chat")
    status = ready["status"]
    assert status["endpoint"] == f"http://chat.{world.namespace}.svc.cluster.local:8000/v1"
    assert status["observedGeneration"] == ready["metadata"]["generation"]
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["model"]["name"] == model
    assert (status["model"]["commit"], status["model"]["bytes"]) == (COMMIT, COMPLETE["bytes"])
    service = world.must("Service", "chat")
    (server,) = world.list("Pod", labelSelector=status["selector"])
    assert service["spec"]["selector"].items() <= server["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] in {
        p["name"] for c in server["spec"]["containers"] for p in c.get("ports", [])
    }


def test_every_status_ever_written_is_whole(world: World) -> None:
    """All conditions with reasons from the first write on, of one generation, and never Ready too soon."""
    since = world.apply(Q3d())
    world.wait_ready("chat")
    world.set_spec("chat", engine={"maxModelLen": 4096})
    world.wait(lambda: (world.must("Qwen3Deployment", "chat")["status"]["engine"] or {}).get("maxModelLen") == 4096)
    world.wait_ready("chat")
    versions = world.history("Qwen3Deployment", "chat", since)
    written = [v for v in versions if v.get("status")]
    assert len(written) >= 3
    for version in written:
        conditions = version["status"]["conditions"]
        assert [c["type"] for c in conditions] == list(DEPLOYMENT_TYPES)
        assert all(c["reason"] and c["lastTransitionTime"] for c in conditions)
        observed = version["status"]["observedGeneration"]
        assert observed <= version["metadata"]["generation"]
        assert {c["observedGeneration"] for c in conditions} == {observed}
        by_type = {c["type"]: c["status"] for c in conditions}
        if by_type["Ready"] == "True":
            assert version["status"]["readyReplicas"] == 1
            assert {by_type[t] for t in ("Accepted", "ModelReady", "Scheduled", "Available")} == {"True"}
            assert (by_type["Reconciling"], by_type["Stalled"]) == ("False", "False")
    _untouched(versions)
    model = world.must("Qwen3Model", shared_name(Q3d()))
    assert [c["type"] for c in model["status"]["conditions"]] == list(MODEL_TYPES)


def test_a_condition_keeps_the_time_of_its_last_change(world: World) -> None:
    world.apply(Q3d())
    before = world.wait_ready("chat")["status"]["conditions"]
    world.set_spec("chat", service={"annotations": {"team": "a"}})
    world.wait(lambda: world.must("Service", "chat")["metadata"].get("annotations", {}).get("team") == "a")
    after = world.wait_ready("chat")["status"]["conditions"]
    assert {c["type"]: c["lastTransitionTime"] for c in after} == {c["type"]: c["lastTransitionTime"] for c in before}


def test_deletion_removes_the_children_and_keeps_the_weights(world: World) -> None:
    cr = Q3d()
    world.apply(cr)
    world.wait_ready("chat")
    world.delete("Qwen3Deployment", "chat")
    assert world.get("Qwen3Deployment", "chat") is None, "no finalizer holds it"
    world.wait_gone("Deployment", "chat")
    world.wait_gone("Service", "chat")
    world.wait_gone("Qwen3Model", shared_name(cr))
    world.wait(lambda: not world.list("Job") and not world.list("Pod"), "Job and pods are gone")
    claim = world.must("PersistentVolumeClaim", shared_name(cr))
    assert claim["status"]["phase"] == "Bound"
    assert "deletionTimestamp" not in claim["metadata"]

    world.apply(cr)
    world.wait_ready("chat")
    assert world.must("PersistentVolumeClaim", shared_name(cr))["metadata"]["uid"] == claim["metadata"]["uid"]


def test_deletion_removes_the_weights_under_the_policy_delete(world: World) -> None:
    cr = Q3d().storage(retentionPolicy="Delete")
    world.apply(cr)
    world.wait_ready("chat")
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("PersistentVolumeClaim", shared_name(cr))


def test_deletion_works_while_the_operator_is_away(world: World, operator: OperatorProcess) -> None:
    cr = Q3d().storage(retentionPolicy="Delete")
    world.apply(cr)
    world.wait_ready("chat")
    operator.stop()
    world.delete("Qwen3Deployment", "chat")
    assert world.get("Qwen3Deployment", "chat") is None
    for kind, name in (("Deployment", "chat"), ("Service", "chat"), ("PersistentVolumeClaim", shared_name(cr))):
        world.wait_gone(kind, name)
    operator.start()
    stays(lambda: not world.list("Deployment"), seconds=1, what="nothing comes back")


@pytest.mark.parametrize("change", [{"revision": "v1"}, {"id": "Qwen/Qwen3-1.7B"}])
def test_another_model_is_served_only_when_it_is_there(world: World, change: Object) -> None:
    """The old servers go on until then; afterwards the old Qwen3Model is let go, its claim stays."""
    cr = Q3d()
    world.apply(cr)
    before = world.wait_ready("chat")
    args = world.container("chat")["args"]
    moved = Q3d().model(**change)
    world.api.apply(stage(world.namespace, NEVER_ENDS, only_job_of=shared_name(moved)))
    world.apply(moved)
    world.wait_condition("chat", "ModelReady", "False", reason="Downloading")
    stays(lambda: world.container("chat")["args"] == args, seconds=1.5, what="the old servers go on")
    status = world.must("Qwen3Deployment", "chat")["status"]
    assert status["readyReplicas"] == 1
    assert status["model"] == before["status"]["model"], "the status names what is served"
    assert world.get("Qwen3Model", shared_name(cr)), "the old model is still in use"

    _end_download(world)
    world.wait(lambda: world.container("chat")["args"] != args, "servers of the new model")
    ready = world.wait_ready("chat")
    assert ready["status"]["model"]["name"] == shared_name(moved)
    world.wait_gone("Qwen3Model", shared_name(cr))
    assert world.must("PersistentVolumeClaim", shared_name(cr))["status"]["phase"] == "Bound"


def test_weights_that_were_deleted_are_downloaded_again(world: World) -> None:
    """Somebody deletes the claim: what the status said of its content no longer holds."""
    cr = Q3d()
    model = shared_name(cr)
    world.apply(cr)
    world.wait_ready("chat")
    world.set_spec("chat", suspend=True)
    world.wait(lambda: not world.list("Pod", labelSelector="app.kubernetes.io/component=server"), "no server")
    old = world.must("PersistentVolumeClaim", model)["metadata"]["uid"]
    for pod in world.list("Pod"):
        world.delete("Pod", pod["metadata"]["name"])
    world.delete("PersistentVolumeClaim", model)
    world.wait(lambda: world.must("PersistentVolumeClaim", model)["metadata"]["uid"] != old, "a new claim")
    bound = "the download bound it"
    world.wait(lambda: world.must("PersistentVolumeClaim", model)["status"]["phase"] == "Bound", bound, within=25)
    world.wait_condition(model, "Ready", "True", kind="Qwen3Model", within=25)
    world.set_spec("chat", suspend=False)
    world.wait_ready("chat")


def test_a_job_that_was_removed_after_success_is_not_run_again(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    (job,) = world.list("Job")
    world.delete("Job", job["metadata"]["name"])
    world.wait(lambda: not world.list("Job"))
    stays(lambda: not world.list("Job") and world.is_ready("chat"), seconds=2, what="no new Job")


def test_a_job_that_was_deleted_while_it_ran_is_made_again(world: World) -> None:
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    world.apply(Q3m())
    old = world.wait(lambda: world.list("Job"))[0]["metadata"]
    world.wait(lambda: world.list("Pod"))
    world.api.delete("Stage", None, f"download-{world.namespace}")
    world.delete("Job", old["name"])
    world.wait_ready("weights", "Qwen3Model")
    assert all(job["metadata"]["uid"] != old["uid"] for job in world.list("Job"))


def test_a_suspended_model_downloads_nothing(world: World) -> None:
    world.apply(Q3m().set(suspend=True))
    condition = world.wait_condition("weights", "Ready", "False", kind="Qwen3Model", reason="Suspended")
    assert "spec.suspend" in condition["message"]
    assert world.condition("weights", "Reconciling", kind="Qwen3Model")["status"] == "False"
    stays(lambda: not world.list("Job"), seconds=1)
    world.apply(Q3m().set(suspend=False))
    world.wait_ready("weights", "Qwen3Model")


def _end_download(world: World) -> None:
    """Downloads of this namespace end well from now on, also the one that runs."""
    name = f"download-{world.namespace}"
    world.api.delete("Stage", None, name)
    for pod in world.list("Pod", labelSelector="app.kubernetes.io/component=download"):
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            annotation = {"metadata": {"annotations": {"devcluster.qwen3.dev/run-for": "0s"}}}
            world.patch("Pod", pod["metadata"]["name"], annotation)


def _untouched(versions: Sequence[Object]) -> None:
    """Nobody but the user wrote spec or metadata."""
    for version in versions:
        assert "finalizers" not in version["metadata"]
        assert "annotations" not in version["metadata"]
        for entry in version["metadata"]["managedFields"]:
            if entry["manager"] not in ("kubectl", "tests"):
                assert entry.get("subresource") == "status", entry


@pytest.mark.parametrize("kind", ["Qwen3Deployment", "Qwen3Model"])
def test_nothing_is_written_into_what_users_own(world: World, kind: str) -> None:
    made: dict[str, Callable[[], Q3d | Q3m]] = {"Qwen3Deployment": Q3d, "Qwen3Model": Q3m}
    cr = made[kind]()
    since = world.apply(cr)
    world.wait_ready(cr.manifest["metadata"]["name"], kind)
    _untouched(world.history(kind, cr.manifest["metadata"]["name"], since))

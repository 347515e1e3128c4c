"""One copy of a model for all who name it."""

from __future__ import annotations

from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m, claim


def test_two_share_one_model_claim_and_job(world: World) -> None:
    first, second = Q3d("first"), Q3d("second").engine(maxModelLen=4096)
    world.apply(first, second)
    world.wait_ready("first")
    world.wait_ready("second")
    assert len(world.list("Qwen3Model")) == len(world.list("PersistentVolumeClaim")) == len(world.list("Job")) == 1
    (model,) = world.list("Qwen3Model")
    assert {o["name"] for o in model["metadata"]["ownerReferences"]} == {"first", "second"}
    world.wait(
        lambda: world.list("Qwen3Model")[0]["status"]["usedBy"] == ["first", "second"], "both are named as users"
    )


def test_the_last_of_two_takes_the_weights_along(world: World) -> None:
    first, second = (Q3d(name).storage(retentionPolicy="Delete") for name in ("first", "second"))
    world.apply(first, second)
    world.wait_ready("first")
    world.wait_ready("second")
    name = shared_name(first)
    world.delete("Qwen3Deployment", "first")
    world.wait_gone("Deployment", "first")
    world.wait(lambda: world.must("Qwen3Model", name)["status"]["usedBy"] == ["second"], "one user is left")
    stays(lambda: world.is_ready("second"), seconds=1.5, what="the other goes on")
    assert "deletionTimestamp" not in world.must("PersistentVolumeClaim", name)["metadata"]
    world.delete("Qwen3Deployment", "second")
    world.wait_gone("Qwen3Model", name)
    world.wait_gone("PersistentVolumeClaim", name)


def test_another_revision_or_claim_is_not_shared(world: World) -> None:
    world.apply(claim("filled"))
    world.apply(
        Q3d("plain").set(suspend=True),
        Q3d("revision").model(revision="v2").set(suspend=True),
        Q3d("storage").storage(storageClassName="simulated-immediate").set(suspend=True),
        Q3d("claim").storage(existingClaim={"name": "filled", "path": "qwen3"}).set(suspend=True),
    )
    world.wait(lambda: len(world.list("Qwen3Model")) == 4, "four models")
    world.wait(lambda: len(world.list("PersistentVolumeClaim")) == 4, "three claims of ours and the one that was there")


def test_a_claim_that_is_there_is_used_and_never_owned(world: World) -> None:
    world.apply(claim("filled"))
    world.apply(Q3d().storage(existingClaim={"name": "filled", "path": "qwen3"}))
    ready = world.wait_ready("chat")
    assert ready["status"]["model"]["claim"] == "filled"
    (volume,) = (
        v for v in world.must("Deployment", "chat")["spec"]["template"]["spec"]["volumes"] if v["name"] == "models"
    )
    assert volume["persistentVolumeClaim"]["claimName"] == "filled"
    assert "/models/qwen3" in world.container("chat")["args"]
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("Deployment", "chat")
    world.wait(lambda: not world.list("Qwen3Model"))
    meta = world.must("PersistentVolumeClaim", "filled")["metadata"]
    assert "ownerReferences" not in meta
    assert "deletionTimestamp" not in meta
    assert "labels" not in meta


def test_a_model_made_ahead_is_used_and_survives_its_users(world: World) -> None:
    world.apply(Q3m("warm").storage(size="99Gi"))
    world.wait_ready("warm", "Qwen3Model")
    world.apply(Q3d())
    ready = world.wait_ready("chat")
    assert ready["status"]["model"]["name"] == "warm"
    assert [m["metadata"]["name"] for m in world.list("Qwen3Model")] == ["warm"]
    world.wait(lambda: world.must("Qwen3Model", "warm")["status"]["usedBy"] == ["chat"], "it names its user")
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("Deployment", "chat")
    world.wait(lambda: not world.must("Qwen3Model", "warm")["status"].get("usedBy"), "it has no user")
    stays(lambda: world.is_ready("warm", "Qwen3Model"), seconds=1)
    assert world.must("PersistentVolumeClaim", "warm")["status"]["phase"] == "Bound"


def test_a_model_made_ahead_serves_only_what_it_holds(world: World) -> None:
    pinned, branch = Q3d("pinned").model(revision="v3"), Q3d("branch")
    world.apply(Q3m("other").set(revision="v2"))
    world.apply(pinned, branch)
    world.wait_ready("pinned")
    world.wait_ready("branch")
    assert world.must("Qwen3Deployment", "pinned")["status"]["model"]["name"] == shared_name(pinned)
    named = world.must("Qwen3Deployment", "branch")["status"]["model"]["name"]
    assert named == "other", "the default branch is what the platform has pinned"


def test_deleting_a_model_in_use_brings_it_back(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    name = shared_name(Q3d())
    old = world.must("Qwen3Model", name)["metadata"]["uid"]
    world.delete("Qwen3Model", name)
    world.wait(lambda: world.must("Qwen3Model", name)["metadata"]["uid"] != old, "a new one")
    world.wait_ready("chat")
    assert world.must("Deployment", "chat")["status"]["readyReplicas"] == 1


def test_a_user_who_leaves_early_does_not_stop_the_download_of_the_other(world: World) -> None:
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    world.apply(Q3d("first"), Q3d("second"))
    world.wait(
        lambda: (
            len(
                (world.get("Qwen3Model", shared_name(Q3d())) or {"metadata": {}})["metadata"].get("ownerReferences", [])
            )
            == 2
        )
    )
    job = world.wait(lambda: world.list("Job"))[0]["metadata"]["uid"]
    world.delete("Qwen3Deployment", "first")
    world.wait_gone("Service", "first")
    stays(lambda: [j["metadata"]["uid"] for j in world.list("Job")] == [job], seconds=1, what="the same Job")

"""Who holds a model and a claim follows from what is wanted and used now, whatever the way that led there."""

from __future__ import annotations

from typing import Any

from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.waiting import stays
from tests.cluster.world import COLLECTED_SECONDS, World, shared_name
from tests.cluster.wrappers import Q3d, Q3m

WRONG = "Qwen/Qwen3-235B-A22B"


def holders(world: World, kind: str, name: str) -> set[str]:
    found: list[dict[str, Any]] = world.must(kind, name)["metadata"].get("ownerReferences") or []
    return {owner["name"] for owner in found}


def test_a_wrong_id_that_is_corrected_is_let_go(world: World) -> None:
    """Its model goes, and the download that nobody wants any more with it."""
    world.apply(Q3d())
    world.wait_ready("chat")
    wrong = shared_name(Q3d().set(model={"id": WRONG}))
    world.api.apply(stage(world.namespace, NEVER_ENDS, only_job_of=wrong))
    world.set_spec("chat", model={"id": WRONG})
    world.wait(lambda: world.list("Job", labelSelector=f"serving.qwen3.dev/model={wrong}"), "the wrong one downloads")
    world.set_spec("chat", model={"id": "Qwen/Qwen3-0.6B"})
    world.wait_gone("Qwen3Model", wrong)
    world.wait(
        lambda: not world.list("Job", labelSelector=f"serving.qwen3.dev/model={wrong}"),
        "its download stops",
        within=COLLECTED_SECONDS,
    )
    world.wait_ready("chat")
    assert world.get("Qwen3Model", shared_name(Q3d())) is not None


def test_the_model_before_is_held_until_its_last_server_is_gone(world: World) -> None:
    cr = Q3d().pod(delete_delay="4s")
    world.apply(cr)
    world.wait_ready("chat")
    world.set_spec("chat", model={"id": "Qwen/Qwen3-1.7B"})
    old, new = shared_name(cr), shared_name(Q3d().set(model={"id": "Qwen/Qwen3-1.7B"}))
    world.wait(lambda: "/models/Qwen3-1.7B" in str(world.container("chat")["args"]), "the servers move")
    held = holders(world, "Qwen3Model", old)  # before the pods are looked at: while one of before is there
    mounted = [str(pod["spec"].get("volumes")) for pod in world.list("Pod")]
    assert any(f"'claimName': '{old}'" in volumes for volumes in mounted), "a server of before takes 4 s to end"
    assert held == {"chat"}
    world.wait_ready("chat", within=60)
    world.wait_gone("Qwen3Model", old)
    assert holders(world, "Qwen3Model", new) == {"chat"}


def test_delete_that_becomes_retain_saves_the_weights(world: World) -> None:
    """Two users; each changes its mind; the claim outlives them both."""
    model = {"id": "Qwen/Qwen3-0.6B", "storage": {"retentionPolicy": "Delete"}}
    crs = [Q3d(name).set(model=model) for name in ("a", "b")]
    world.apply(*crs)
    for name in ("a", "b"):
        world.wait_ready(name)
    name = shared_name(crs[0])
    world.wait(lambda: holders(world, "PersistentVolumeClaim", name) == {"a", "b", name}, "under Delete all hold it")
    for user in ("a", "b"):
        world.set_spec(user, model=model | {"storage": {"retentionPolicy": "Retain"}})
    world.wait(lambda: not holders(world, "PersistentVolumeClaim", name), "under Retain nobody owns it")
    for user in ("a", "b"):
        world.delete("Qwen3Deployment", user)
    world.wait_gone("Qwen3Model", name)
    stays(lambda: "deletionTimestamp" not in world.must("PersistentVolumeClaim", name)["metadata"], seconds=2)


def test_where_users_differ_retain_wins(world: World) -> None:
    a = Q3d("a").set(model={"id": "Qwen/Qwen3-0.6B", "storage": {"retentionPolicy": "Delete"}})
    b = Q3d("b").set(model={"id": "Qwen/Qwen3-0.6B"})
    world.apply(a)
    world.wait_ready("a")
    name = shared_name(a)
    assert world.must("Qwen3Model", name)["status"]["retentionPolicy"] == "Delete"
    world.apply(b)
    world.wait_ready("b")
    world.wait(lambda: world.must("Qwen3Model", name)["status"]["retentionPolicy"] == "Retain", "the model says so")
    world.wait(lambda: not holders(world, "PersistentVolumeClaim", name), "nobody owns the claim")
    status = world.must("Qwen3Model", name)["status"]
    assert status["decidedBy"] == "Qwen3Deployment a" and status["users"] == 2 and status["usedBy"] == ["a", "b"]


def test_a_default_that_is_spelled_out_is_the_same_model(world: World) -> None:
    """Whoever is first, and whoever goes: no innocent user stalls."""
    a = Q3d("a")
    b = Q3d("b").set(model={"id": "Qwen/Qwen3-0.6B", "storage": {"accessMode": "ReadWriteOnce"}})
    world.apply(a)
    world.wait_ready("a")
    world.apply(b)
    world.wait_ready("b")
    assert [model["metadata"]["name"] for model in world.list("Qwen3Model")] == [shared_name(a)]
    world.delete("Qwen3Deployment", "a")
    world.wait(lambda: holders(world, "Qwen3Model", shared_name(a)) == {"b"}, "b is the first now")
    stays(lambda: world.is_ready("b"), seconds=2)
    world.set_spec("b", model={"id": "Qwen/Qwen3-0.6B", "storage": {"accessMode": None}})
    stays(lambda: world.condition("b", "Stalled").get("status") != "True", seconds=2)


def test_another_hub_than_the_one_named_is_never_used(world: World) -> None:
    """Another author's model of the same id, from a hub of his own, is nobody else's."""
    world.apply(Q3m("my-test").set(id="Qwen/Qwen3-0.6B", revision="backdoored", endpoint="http://hub.team-x.example"))
    world.wait_ready("my-test", "Qwen3Model")
    named = {"id": "Qwen/Qwen3-0.6B", "endpoint": "https://modelscope.cn"}
    world.apply(Q3d("plain"), Q3d("explicit").set(model=named))
    for name in ("plain", "explicit"):
        found = world.wait_ready(name)["status"]["model"]["name"]
        assert found != "my-test" and world.must("Qwen3Model", found)["status"]["endpoint"] == "https://modelscope.cn"


def test_a_platforms_model_is_named_by_reference(world: World) -> None:
    cr = Q3d().set(modelRef={"name": "shared"})
    del cr.spec["model"]
    world.apply(cr)
    world.wait_condition("chat", "Accepted", "False", reason="Qwen3ModelNotFound")
    world.apply(Q3m("shared").set(id="Qwen/Qwen3-0.6B"))
    status = world.wait_ready("chat")["status"]
    assert status["model"]["name"] == "shared" and status["model"]["id"] == "Qwen/Qwen3-0.6B"
    assert [model["metadata"]["name"] for model in world.list("Qwen3Model")] == ["shared"]
    assert "Qwen3-0.6B" in world.container("chat")["args"]


def test_servers_stop_although_the_model_that_is_named_now_does_not_exist(world: World) -> None:
    cr = Q3d()
    world.apply(cr)
    world.wait_ready("chat")
    world.set_spec("chat", model=None, modelRef={"name": "missing"}, suspend=True)
    world.wait_condition("chat", "Accepted", "False", reason="Qwen3ModelNotFound")
    world.wait(lambda: world.must("Deployment", "chat")["spec"]["replicas"] == 0, "no server is wanted")

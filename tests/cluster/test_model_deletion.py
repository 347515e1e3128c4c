"""A Qwen3Model that is deleted while servers run on it: the weights stay."""

from __future__ import annotations

import pytest
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_model_of_ours_comes_back_and_the_claim_stays(world: World, policy: str) -> None:
    cr = Q3d().storage(retentionPolicy=policy)
    name = shared_name(cr)
    world.apply(cr)
    world.wait_ready("chat")
    model = world.must("Qwen3Model", name)["metadata"]["uid"]
    claim = world.must("PersistentVolumeClaim", name)["metadata"]["uid"]
    world.delete("Qwen3Model", name)
    world.wait(lambda: (world.get("Qwen3Model", name) or {"metadata": {"uid": model}})["metadata"]["uid"] != model)

    def untouched() -> bool:
        meta = world.must("PersistentVolumeClaim", name)["metadata"]
        return meta["uid"] == claim and "deletionTimestamp" not in meta

    stays(untouched, seconds=3, what="the claim stays")
    world.wait_ready("chat")
    world.wait(lambda: world.must("Qwen3Model", name)["status"].get("usedBy") == ["chat"])
    if policy == "Delete":
        world.delete("Qwen3Deployment", "chat")
        world.wait_gone("PersistentVolumeClaim", name)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_platforms_model_leaves_its_weights_to_those_who_serve_them(world: World, policy: str) -> None:
    world.apply(Q3m("platform").storage(retentionPolicy=policy))
    world.wait_ready("platform", "Qwen3Model")
    world.apply(Q3d())
    ready = world.wait_ready("chat")
    assert ready["status"]["model"]["name"] == "platform"
    world.delete("Qwen3Model", "platform")
    world.wait_gone("Qwen3Model", "platform")
    stays(
        lambda: "deletionTimestamp" not in world.must("PersistentVolumeClaim", "platform")["metadata"],
        seconds=3,
        what="the claim stays",
    )
    world.wait(lambda: world.get("Qwen3Model", shared_name(Q3d())), "one of its own in its place")
    world.wait_ready("chat")

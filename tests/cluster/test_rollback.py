"""A change of the servers: in which order they go and come, and what becomes of one that cannot succeed."""

from __future__ import annotations

import json

from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

from qwen3_operator.desired.rollout import REFUSED

WRONG = "AnswersWrong: tool-call parser hermes: a call is left in the content"


def wrong() -> Q3d:
    """A spec whose servers do not answer as their model."""
    made = Q3d().engine(maxModelLen=4096)
    return made.pod(waiting_reason="CrashLoopBackOff", exit_code="86", termination_message=WRONG)


def rolling(world: World) -> dict[str, int]:
    found: dict[str, int] = world.must("Deployment", "chat")["spec"]["strategy"]["rollingUpdate"]
    return found


def test_servers_that_fail_for_good_make_way_for_those_before(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")["spec"]["template"]

    world.apply(wrong())
    condition = world.wait_condition("chat", "Accepted", "False", reason="RolledBack", within=30)
    assert "AnswersWrong" in condition["message"]
    assert "tool-call parser hermes: a call is left in the content" in condition["message"]
    assert world.must("Deployment", "chat")["spec"]["template"] == before
    world.wait(lambda: world.must("Deployment", "chat")["status"].get("readyReplicas") == 1)
    world.wait_condition("chat", "Stalled", "True", reason="RolledBack")
    assert world.must("Qwen3Deployment", "chat")["spec"]["engine"]["maxModelLen"] == 4096, "the spec is its author's"
    generation = world.must("Deployment", "chat")["metadata"]["generation"]

    world.apply(wrong().set(service={"port": 81}))  # nothing of the servers
    world.wait_condition("chat", "Accepted", "False", reason="RolledBack")
    assert world.must("Deployment", "chat")["metadata"]["generation"] == generation

    world.apply(Q3d().engine(maxModelLen=8192))
    world.wait_ready("chat")
    assert REFUSED not in world.must("Deployment", "chat")["metadata"]["annotations"]
    assert "8192" in json.dumps(world.container("chat")["args"])


def test_the_old_spec_heals_at_once(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    world.apply(wrong())
    world.wait_condition("chat", "Accepted", "False", reason="RolledBack", within=30)
    world.apply(Q3d())
    world.wait_ready("chat")


def test_the_first_servers_have_nothing_to_go_back_to(world: World) -> None:
    world.apply(wrong())
    condition = world.wait_condition("chat", "Available", "False", reason="AnswersWrong", within=30)
    assert "does not answer as its model" in condition["message"]
    world.wait_condition("chat", "Stalled", "True", reason="AnswersWrong")


def whole_node() -> Q3d:
    """A server that takes every GPU of one node."""
    return Q3d().engine(tensorParallelSize=8).scheduling(nodeSelector={"kubernetes.io/hostname": "sim-0"})


def test_where_there_is_room_the_new_server_comes_first(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    assert rolling(world) == {"maxSurge": 1, "maxUnavailable": 0}


def test_where_there_is_none_an_old_one_goes_first(world: World) -> None:
    world.apply(whole_node())
    world.wait_ready("chat")
    assert rolling(world) == {"maxSurge": 1, "maxUnavailable": 0}
    world.apply(whole_node().engine(maxModelLen=4096))
    world.wait(lambda: rolling(world) == {"maxSurge": 0, "maxUnavailable": 1}, "an old one goes", within=40)
    ready = world.wait_ready("chat")
    assert ready["status"]["engine"]["maxModelLen"] == 4096


def test_recreate_ends_all_before_the_first_new_one(world: World) -> None:
    world.apply(Q3d().set(rollout={"strategy": "Recreate"}))
    world.wait_ready("chat")
    assert world.must("Deployment", "chat")["spec"]["strategy"]["type"] == "Recreate"

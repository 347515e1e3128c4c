"""A change of the servers: in which order they go and come, and what becomes of one that cannot succeed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.pool import Pool
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

from qwen3_operator.desired.rollout import REFUSED

Object = dict[str, Any]

WRONG = "AnswersWrong: tool-call parser hermes: a call is left in the content"


def wrong() -> Q3d:
    """A spec whose servers do not answer as their model."""
    made = Q3d().engine(maxModelLen=4096)
    return made.pod(waiting_reason="CrashLoopBackOff", exit_code="86", termination_message=WRONG)


SURGE = {"maxSurge": 1, "maxUnavailable": 0}
AN_OLD_ONE_FIRST = {"maxSurge": 0, "maxUnavailable": 1}


def rolling(deployment: Object) -> Object:
    found: Object = deployment["spec"]["strategy"]["rollingUpdate"]
    return found


def changes(world: World, changed: Q3d) -> list[Object]:
    """How servers go and come, in every version of their Deployment from the change until all are new."""
    before = world.must("Deployment", "chat")
    world.apply(changed.engine(maxModelLen=4096))
    assert world.wait_ready("chat", within=60)["status"]["engine"]["maxModelLen"] == 4096
    return [rolling(it) for it in world.history("Deployment", "chat", before)]


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


@pytest.fixture
def whole_node(world: World) -> Iterator[Q3d]:
    """A server that takes every GPU of a node, which has none but its own."""
    pool = Pool(world)
    pool.add("whole", gpus=8)
    yield Q3d().engine(tensorParallelSize=8).scheduling(**pool.scheduling)
    pool.close()


def test_where_there_is_room_the_new_server_comes_first(world: World) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    assert rolling(world.must("Deployment", "chat")) == SURGE
    assert AN_OLD_ONE_FIRST not in changes(world, Q3d())


def test_where_there_is_none_an_old_one_goes_first(world: World, whole_node: Q3d) -> None:
    world.apply(whole_node)
    world.wait_ready("chat")
    assert rolling(world.must("Deployment", "chat")) == SURGE
    assert AN_OLD_ONE_FIRST in changes(world, whole_node)


def least_ready(world: World, since: Object) -> int:
    """The fewest servers that were ready at once after `since`, by every version of their Deployment."""
    return min(int(it["status"].get("readyReplicas") or 0) for it in world.history("Deployment", "chat", since))


def test_a_change_that_cannot_succeed_takes_one_server_down_and_no_second(world: World) -> None:
    """Two servers fill the quota: one goes first, the new one fails, and the one before comes back."""
    world.api.create(quota(world, 2))
    world.apply(Q3d().set(replicas=2))
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")
    world.apply(wrong().set(replicas=2))
    world.wait_condition("chat", "Accepted", "False", reason="RolledBack", within=40)
    world.wait(lambda: world.must("Deployment", "chat")["status"].get("readyReplicas") == 2, "both serve")
    assert world.must("Deployment", "chat")["spec"]["template"] == before["spec"]["template"]
    assert least_ready(world, before) == 1


def test_a_quota_that_is_held_is_no_room(world: World) -> None:
    world.api.create(quota(world, 1))
    world.apply(Q3d())
    world.wait_ready("chat")
    assert AN_OLD_ONE_FIRST in changes(world, Q3d())


def test_the_one_before_comes_back_where_it_went_first_and_the_new_one_gets_no_node(world: World) -> None:
    """The only server: once it ends nothing is there but the new one, which has until the progress deadline."""
    world.api.create(quota(world, 1))
    world.apply(Q3d())
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")["spec"]["template"]
    world.apply(Q3d().scheduling(nodeSelector={"pool": "none"}).set(rollout={"progressDeadlineSeconds": 60}))
    reported = world.wait_condition("chat", "Accepted", "False", reason="RolledBack", within=100)
    assert "NodeSelectorMismatch" in reported["message"]
    assert world.must("Deployment", "chat")["spec"]["template"] == before
    world.wait(lambda: world.must("Deployment", "chat")["status"].get("readyReplicas") == 1, "it serves again")
    world.apply(Q3d())  # a person takes it back, while Kubernetes may yet speak of the deadline
    world.wait_ready("chat")


def test_an_operator_that_comes_in_the_middle_goes_back_all_the_same(world: World, operator: OperatorProcess) -> None:
    world.apply(Q3d())
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")["spec"]["template"]
    world.apply(wrong())
    world.wait(lambda: world.must("Deployment", "chat")["spec"]["template"] != before, "it is tried")
    operator.stop()
    world.wait(lambda: WRONG in str([pod["status"] for pod in world.list("Pod")]), "it fails while no operator runs")
    operator.start()
    reported = world.wait_condition("chat", "Accepted", "False", reason="RolledBack", within=30)
    assert "AnswersWrong" in reported["message"]
    assert world.must("Deployment", "chat")["spec"]["template"] == before
    operator.stop()
    operator.start()
    stays(
        lambda: world.must("Deployment", "chat")["spec"]["template"] == before, seconds=3, what="it is not tried again"
    )


def quota(world: World, gpus: int) -> Object:
    """So many GPUs for the namespace."""
    meta, hard = {"name": "gpus", "namespace": world.namespace}, {"requests.nvidia.com/gpu": str(gpus)}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}}


def test_recreate_ends_all_before_the_first_new_one(world: World) -> None:
    world.apply(Q3d().set(rollout={"strategy": "Recreate"}))
    world.wait_ready("chat")
    assert world.must("Deployment", "chat")["spec"]["strategy"]["type"] == "Recreate"


@pytest.mark.parametrize(
    ("what", "fails"),
    [
        ("the API server refused its servers", Q3d().scheduling(priorityClassName="nowhere")),
        ("its servers could not start", Q3d().pod(waiting_reason="InvalidImageName", waiting_message="no name")),
    ],
)
def test_an_edit_that_mends_what_was_stalled_is_not_stalled(world: World, what: str, fails: Q3d) -> None:
    """Flux would take the edit for one that failed, and stop."""
    world.apply(fails)
    world.wait_condition("chat", "Stalled", "True", within=60)
    before = world.must("Qwen3Deployment", "chat")
    world.apply(Q3d())
    world.wait_ready("chat", within=60)
    versions = [it for it in world.history("Qwen3Deployment", "chat", before) if _is_current(it)]
    stalled = [c for it in versions for c in it["status"]["conditions"] if (c["type"], c["status"]) == STALLED]
    assert versions and not stalled, f"{what}: {stalled[:1]}"


STALLED = ("Stalled", "True")


def _is_current(obj: Object) -> bool:
    return bool(obj["status"].get("observedGeneration") == obj["metadata"]["generation"] > 1)

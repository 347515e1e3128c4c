"""In which order servers go and come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qwen3_operator.api.deployment import Rollout
from qwen3_operator.desired.rollout import (
    NO_ROOM,
    NO_VOLUME,
    REFUSED,
    RolledBack,
    must_delete_first,
    order,
    rolled_back,
    strategy,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
AUTO = Rollout()
NODES = {"a": 8, "b": 8}
SECOND = timedelta(seconds=1)


QUOTA = (
    'pods "b" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1,'
    " used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu="
)


def server(
    *, surge: int = 1, replicas: int = 2, updated: int = 1, progress: str = "ReplicaSetUpdated"
) -> dict[str, Any]:
    return {
        "metadata": {"generation": 4},
        "spec": {"strategy": {"rollingUpdate": {"maxSurge": surge}}},
        "status": {
            "observedGeneration": 4,
            "replicas": replicas,
            "updatedReplicas": updated,
            "conditions": [{"type": "Progressing", "status": "True", "reason": progress}],
        },
    }


def pod(
    template: str = "new", *, ending: bool = False, gpus: int = 1, node: str = "", memory: str = "8Gi", **status: Any
) -> dict[str, Any]:
    meta: dict[str, Any] = {"labels": {"pod-template-hash": template}}
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}, "requests": {"memory": memory}}
    return {
        "metadata": meta | ({"deletionTimestamp": "2026-11-27T11:59:00Z"} if ending else {}),
        "spec": {"containers": [{"resources": resources}]} | ({"nodeName": node} if node else {}),
        "status": status,
    }


def unplaced(
    since: timedelta, reason: str = "1 Insufficient nvidia.com/gpu", *, gpus: int = 1, memory: str = "8Gi"
) -> dict[str, Any]:
    placed = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": f"0/2 nodes are available: {reason}.",
        "lastTransitionTime": (NOW - since).isoformat(),
    }
    return pod(gpus=gpus, memory=memory, phase="Pending", conditions=[placed])


def without_volume(since: timedelta, sandbox: str = "False") -> dict[str, Any]:
    """As a kubelet writes it: the container waits from the beginning."""
    moment = (NOW - since).isoformat()
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment},
        {"type": "PodReadyToStartContainers", "status": sandbox, "lastTransitionTime": moment},
    ]
    waits = [{"name": "vllm", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    return pod(node="b", phase="Pending", conditions=conditions, containerStatuses=waits)


OLD = pod("old", node="a", phase="Running")
ELSEWHERE = pod("old", node="of-another-pool", phase="Running")
ONE_FULL = "1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {a: b}"


@pytest.mark.parametrize(
    ("what", "first"),
    [
        ((AUTO, None, []), False),
        ((AUTO, server(), [OLD, pod(phase="Running")]), False),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM - SECOND)]), False),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM)]), True),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, ONE_FULL)]), True),
        # No place comes free by the end of an old one.
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, "2 node(s) had untolerated taint {a: b}")]), False),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, gpus=16)]), False),
        (
            (AUTO, server(), [pod("old", node="a", phase="Failed"), unplaced(NO_ROOM)]),
            False,
        ),  # evicted: it holds nothing
        (
            (AUTO, server(), [ELSEWHERE, unplaced(NO_ROOM, "1 node(s) didn't match, 2 Insufficient nvidia.com/gpu")]),
            False,
        ),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, "2 Insufficient memory", memory="9Gi")]), False),
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, "2 Insufficient memory")]), True),
        # What is no resource, and one server keeps from another.
        ((AUTO, server(), [OLD, unplaced(NO_ROOM, "2 node(s) didn't match pod anti-affinity rules")]), True),
        (
            (
                AUTO,
                server(),
                [
                    OLD,
                    unplaced(
                        NO_ROOM,
                        "1 node has pod using PersistentVolumeClaim with the same name and"
                        " ReadWriteOncePod access mode",
                    ),
                ],
            ),
            True,
        ),
        # A volume that another node holds; an image that is pulled is no such thing.
        ((AUTO, server(), [OLD, without_volume(NO_VOLUME)]), True),
        ((AUTO, server(), [OLD, without_volume(NO_VOLUME - SECOND)]), False),
        ((AUTO, server(), [OLD, without_volume(NO_VOLUME, sandbox="True")]), False),
        # It stays so until the roll-out is over, and no longer.
        ((AUTO, server(surge=0), [pod("old", ending=True), unplaced(SECOND)]), True),
        ((AUTO, server(surge=0, updated=2, progress="NewReplicaSetAvailable"), [pod(phase="Running")]), False),
        # A Deployment does not count what ends: with one server, all are new by now, and none has come.
        ((AUTO, server(surge=0, replicas=1, updated=1), [pod("old", ending=True), unplaced(SECOND)]), True),
        # Nothing is replaced: more servers of one template than there is room for.
        ((AUTO, server(updated=2), [pod(phase="Running"), unplaced(NO_ROOM)]), False),
        ((Rollout(strategy="Surge"), server(), [OLD, unplaced(NO_ROOM)]), False),
        ((Rollout(strategy="Recreate"), server(), [OLD, unplaced(NO_ROOM)]), False),
    ],
)
def test_an_old_one_goes_first_only_where_a_new_one_has_no_room(
    what: tuple[Rollout, dict[str, Any] | None, list[dict[str, Any]]], first: bool
) -> None:
    assert must_delete_first(*what, NODES, NOW, volume_of_one_node=True) is first


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (QUOTA + "1", True),
        (QUOTA + "0", False),
        ('pods "b" is forbidden: violates PodSecurity "restricted:latest"', False),
        ("", False),
    ],
)
def test_an_old_one_goes_first_for_a_quota_that_one_server_alone_does_not_exceed(words: str, first: bool) -> None:
    found = must_delete_first(AUTO, server(), [OLD], NODES, NOW, volume_of_one_node=True, pods_refused=words)
    assert found is first


def test_a_volume_of_many_nodes_waits_for_nobody() -> None:
    pods = [OLD, without_volume(NO_VOLUME)]
    assert not must_delete_first(AUTO, server(), pods, NODES, NOW, volume_of_one_node=False)


@pytest.mark.parametrize(
    ("rollout", "first", "made", "words"),
    [
        (AUTO, False, (1, 0), "a new one comes first"),
        (AUTO, True, (0, 1), "one of before ends first: no room for a new one beside it"),
        (Rollout(max_unavailable=3), False, (1, 3), "a new one comes first"),
        (
            Rollout(max_unavailable=3),
            True,
            (0, 3),
            "one of before ends first: no room for a new one beside it",
        ),
    ],
)
def test_the_strategy(rollout: Rollout, first: bool, made: tuple[int, int], words: str) -> None:
    found = strategy(rollout, delete_first=first)
    assert found == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": made[0], "maxUnavailable": made[1]}}
    assert order({"spec": {"strategy": found}}) == words


def test_recreate() -> None:
    found = strategy(Rollout(strategy="Recreate"), delete_first=False)
    assert found == {"type": "Recreate"}
    assert order({"spec": {"strategy": found}}) == "all of before end first"


def test_what_was_rolled_back_is_read_from_the_servers() -> None:
    refused = RolledBack("0a1b", "AnswersWrong", "the parser „qwen3“ leaves it")
    assert rolled_back({"metadata": {"annotations": refused.written()}}) == refused
    for text in ("", "{", "[]", '{"inputs": "0a1b"}', "[" * 3000):
        assert rolled_back({"metadata": {"annotations": {REFUSED: text}}}) is None
    assert rolled_back(None) is None

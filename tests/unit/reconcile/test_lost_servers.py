"""Servers that are lost: with their node, by an eviction, to a pod of higher priority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.kinds import NODES
from qwen3_operator.controller.store import Store
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.pods import ENDS_WITHIN, makes_way, views_of, without_replaced
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.status.pods import pod_trouble

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAYS_AGO = NOW - timedelta(days=3)


def node(name: str, ready: str, version: int) -> dict[str, Any]:
    beat = {"type": "Ready", "status": ready, "lastHeartbeatTime": timestamp(NOW + timedelta(seconds=version))}
    meta = {"name": name, "uid": name, "resourceVersion": str(version)}
    return {"metadata": meta, "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [beat]}}


@pytest.fixture
def store() -> Store:
    return Store(WATCHED)


@pytest.fixture
def context(store: Store) -> Context:
    """What is known of two nodes: `lost` is not heard of any more."""
    it = cast(Context, SimpleNamespace(nodes=Nodes(store), now=lambda: NOW))
    store.put(NODES, node("sound", "True", 1))
    store.put(NODES, node("lost", "Unknown", 2))
    return it


def pod(
    name: str,
    *,
    made: datetime = NOW,
    ready: str = "False",
    phase: str = "Running",
    changed: datetime | None = None,
    on: str = "sound",
    going_since: datetime | None = None,
    preempted: bool = False,
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": timestamp(changed or made)}]
    if preempted:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"})
    meta = {"name": name, "namespace": "team", "creationTimestamp": timestamp(made)}
    if going_since:
        meta["deletionTimestamp"] = timestamp(going_since)
    return {"metadata": meta, "spec": {"nodeName": on}, "status": {"phase": phase, "conditions": conditions}}


def evicted(name: str, at: datetime) -> dict[str, Any]:
    return pod(name, made=DAYS_AGO, phase="Failed", changed=at)


def test_a_node_is_lost_while_nothing_is_heard_of_it(context: Context, store: Store) -> None:
    assert context.nodes.is_lost("lost")
    assert not context.nodes.is_lost("sound") and not context.nodes.is_lost("another") and not context.nodes.is_lost("")
    store.put(NODES, node("lost", "True", 3))
    assert not context.nodes.is_lost("lost")
    store.put(NODES, node("lost", "Unknown", 4))
    store.remove(NODES, node("lost", "Unknown", 5)["metadata"])
    assert not context.nodes.is_lost("lost"), "it may come again under its name"


def test_a_heartbeat_is_no_news(context: Context, store: Store) -> None:
    before = store.get(NODES, None, "sound")
    store.put(NODES, node("sound", "True", 9))
    after = store.get(NODES, None, "sound")
    assert before is not None and after is not None and before["status"] == after["status"]


async def test_a_server_on_a_lost_node_is_reported_as_such(context: Context) -> None:
    views = await views_of(context, [pod("a"), pod("b", on="lost")], "vllm")
    trouble = pod_trouble(views)
    assert trouble is not None and trouble.reason == "NodeLost" and not trouble.needs_a_person
    assert "pod b: nothing is heard of its node lost. To do: see the node" in trouble.message


@pytest.mark.parametrize(
    ("what", "makes"),
    [
        ({}, False),
        ({"going_since": NOW}, True),
        ({"going_since": NOW + timedelta(minutes=10)}, True),
        ({"going_since": NOW, "on": ""}, False),
        ({"going_since": NOW, "on": "lost"}, False),
        ({"going_since": NOW, "preempted": True}, False),
        ({"going_since": NOW, "phase": "Failed"}, False),
        ({"going_since": NOW - ENDS_WITHIN}, False),
    ],
)
def test_whose_gpus_another_server_can_have(context: Context, what: dict[str, Any], makes: bool) -> None:
    assert makes_way(context, pod("a", **what)) is makes


def test_an_evicted_pod_explains_why_until_its_successor_is_ready() -> None:
    gone = evicted("gone", NOW - timedelta(seconds=40))
    coming = pod("coming", made=NOW - timedelta(seconds=39))
    assert without_replaced([gone, coming], NOW) == [gone, coming]
    ready = pod("coming", made=NOW - timedelta(seconds=39), ready="True")
    assert without_replaced([gone, ready], NOW) == [ready]
    assert without_replaced([evicted("gone", NOW)], NOW), "there is no other yet"


def test_an_eviction_of_long_ago_explains_nothing_of_a_start_of_now() -> None:
    gone, coming = evicted("gone", NOW - timedelta(hours=5)), pod("coming", made=NOW - timedelta(seconds=5))
    lost = pod("lost", made=DAYS_AGO, on="lost")
    assert without_replaced([gone, coming, lost], NOW) == [coming, lost]


def test_of_a_node_that_refuses_one_pod_after_another_the_last_counts() -> None:
    refused = [evicted(f"p{i}", NOW - timedelta(seconds=60 * i)) for i in range(4)]
    coming = pod("coming", made=NOW)
    assert without_replaced([*refused, coming], NOW) == [refused[0], coming]

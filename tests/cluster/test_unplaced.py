"""Servers that no node takes yet, in a cluster whose autoscaler adds nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from tests.cluster.api import Api
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d, Q3m

LABEL = "pool-that-comes"


@pytest.fixture
def label_a_node(world: World, api: Api) -> Iterator[Callable[[str | None], None]]:
    """Give a node the label that the servers want, as if it had been added."""

    def it(value: str | None) -> None:
        change = {"metadata": {"labels": {LABEL: value}}}
        api.request("PATCH", "/api/v1/nodes/sim-0", change, content_type="application/merge-patch+json")

    yield it
    it(None)


def test_a_pool_that_is_scaled_from_zero_is_waited_for(
    world: World, label_a_node: Callable[[str | None], None]
) -> None:
    """Stalled would have Flux give up, and Argo CD call it degraded, while the cloud brings the node."""
    world.apply(Q3m())
    world.wait_ready("weights", "Qwen3Model")
    world.apply(Q3d().scheduling(nodeSelector={LABEL: world.namespace}))
    reported = world.wait_condition("chat", "Scheduled", "False", reason="NodeSelectorMismatch")
    assert "it may still be on its way" in reported["message"]
    assert world.condition("chat", "Stalled")["status"] == "False"
    (pod,) = world.list("Pod", labelSelector="app.kubernetes.io/component=server")
    world.apply(scale_up(pod["metadata"]))
    coming = world.wait_condition("chat", "Scheduled", "False", reason="NodeComing", within=25)
    assert "gpu-pool 0->1" in coming["message"]
    assert world.condition("chat", "Stalled")["status"] == "False"
    label_a_node(world.namespace)
    world.wait_ready("chat")


def scale_up(pod: dict[str, str]) -> dict[str, object]:
    """What the Cluster Autoscaler 1.34 says of a pod for which it adds a node."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{pod['name']}.scale-up"},
        "regarding": {"apiVersion": "v1", "kind": "Pod"} | {key: pod[key] for key in ("namespace", "name", "uid")},
        "type": "Normal",
        "reason": "TriggeredScaleUp",
        "note": "pod triggered scale-up: [{gpu-pool 0->1 (max: 5)}]",
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "cluster-autoscaler",
        "reportingInstance": "test",
        "action": "ScaleUp",
    }

"""What users ask of the nodes costs no read, and what is remembered of it is bounded (attack 17)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, World

from qwen3_operator.controller.kinds import NODES
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.nodes import _MOST_ANSWERS, Nodes
from qwen3_operator.reconcile.watched import WATCHED

ASKED = 200


async def test_two_hundred_resource_names_list_no_node() -> None:
    world = World()
    names = [f"d-{number}" for number in range(ASKED)]
    for name in names:
        world.apply(QWEN3_DEPLOYMENTS, Q3d(name).set(gpu={"resourceName": f"example.com/{name}"}))
    world.cluster.show(world.operator._store)
    for name in names:
        await world.operator._handle(Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, name))
        assert world.status(QWEN3_DEPLOYMENTS, name)["Accepted"][0] == "True"
    reads = world.cluster.reads
    assert not {verb for verb in reads if verb.endswith(" Node")}, reads
    assert len(world.operator._context.nodes._answers) >= ASKED, "each was asked"


class Watched(Nodes):
    """Of one node with a GPU."""

    def __init__(self) -> None:
        self.store = Store(WATCHED)
        super().__init__(self.store)
        self.see(1)

    def see(self, version: int, **labels: str) -> None:
        """The watch shows the node."""
        meta: dict[str, Any] = {"name": "node", "uid": "u", "resourceVersion": str(version), "labels": labels}
        self.store.put(NODES, {"metadata": meta, "status": {"allocatable": {"nvidia.com/gpu": "8"}}})

    def names(self, resource: str = "nvidia.com/gpu", **selector: str) -> list[str]:
        return list(self.gpus(selector, resource))


@pytest.mark.parametrize("what", ["resource", "selector"])
def test_answers_are_bounded(what: str) -> None:
    nodes = Watched()
    for number in range(4 * _MOST_ANSWERS):
        if what == "resource":
            nodes.names(f"example.com/gpu-{number}")
        else:
            nodes.names(pool=str(number))
        assert len(nodes._answers) <= _MOST_ANSWERS
    assert nodes.names() == ["node"], "and they are right"


def test_an_answer_holds_until_a_node_changes() -> None:
    nodes = Watched()
    assert nodes.names(pool="a") == []
    assert nodes.gpus({}, "nvidia.com/gpu") is nodes.gpus({}, "nvidia.com/gpu"), "it is remembered"
    nodes.see(2, pool="a")
    assert nodes.names(pool="a") == ["node"]
    nodes.store.remove(NODES, {"name": "node", "uid": "u", "resourceVersion": "3"})
    assert nodes.names() == []

"""The GPUs of the nodes, and which nodes are lost, as the watch shows them."""

from __future__ import annotations

from collections.abc import Mapping

from qwen3_operator.api.conditions import condition_of
from qwen3_operator.controller.kinds import NODES, Kind
from qwen3_operator.controller.store import Object, Store
from qwen3_operator.engine.node_gpus import NodeGpus, gpus_of_node

_MOST_ANSWERS = 256
"""Answers that are remembered: what users may ask for is without end."""


class Nodes:
    """Asked at every reconcile, changed hardly ever: answers are remembered until a node's labels or GPUs change."""

    def __init__(self, store: Store) -> None:
        self._nodes: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {}
        self._answers: dict[tuple[str, ...], dict[str, NodeGpus]] = {}
        self._lost: set[str] = set()
        store.listeners.append(self._observe)

    def gpus(self, selector: Mapping[str, str], resource: str) -> Mapping[str, NodeGpus]:
        """Nodes with the labels of `selector` that have `resource`: name -> their GPUs."""
        key = (resource, *(f"{k}={v}" for k, v in sorted(selector.items())))
        answer = self._answers.get(key)
        if answer is None:
            matching = (
                (name, gpus_of_node(labels, allocatable, resource))
                for name, (labels, allocatable) in self._nodes.items()
                if selector.items() <= labels.items()
            )
            answer = {name: gpus for name, gpus in matching if gpus.count}
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def is_lost(self, name: str) -> bool:
        """Whether nothing is heard of the node's kubelet: what runs there does not answer, and nobody ends it."""
        return name in self._lost

    def _observe(self, kind: Kind, before: Object | None, after: Object | None, own: bool) -> None:
        if kind != NODES:
            return
        if after is None:
            assert before is not None
            self._lost.discard(before["metadata"]["name"])
            changed = self._nodes.pop(before["metadata"]["name"], None) is not None
        else:
            name, meta = after["metadata"]["name"], after["metadata"]
            seen = (meta.get("labels") or {}, (after.get("status") or {}).get("allocatable") or {})
            changed, self._nodes[name] = self._nodes.get(name) != seen, seen
            if condition_of(after, "Ready").get("status") == "Unknown":
                self._lost.add(name)
            else:
                self._lost.discard(name)
        if changed:
            self._answers.clear()

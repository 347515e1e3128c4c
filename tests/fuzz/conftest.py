"""Each example has two namespaces with an operator each, on the control plane that the faults have."""

from __future__ import annotations

import pytest
from tests.cluster.waiting import wait_until
from tests.cluster.wrappers import Q3m
from tests.faults.bench import Bench
from tests.faults.conftest import soon_again

from qwen3_operator.naming import QWEN3_MODELS

__all__ = ["garbage_collector", "soon_again"]


@pytest.fixture(scope="session", autouse=True)
def garbage_collector(bench: Bench) -> None:
    """Wait until it knows our kinds, which it looks for every 30 s: until then what a deleted object had stays."""
    api, namespace = bench.api, "default"
    owner = Q3m("collected", namespace).set(suspend=True)
    uid = api.create(owner.manifest)["metadata"]["uid"]
    reference = {"apiVersion": QWEN3_MODELS.api_version, "kind": QWEN3_MODELS.kind, "name": "collected", "uid": uid}
    meta = {"name": "collected", "namespace": namespace, "ownerReferences": [reference]}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    api.delete("Qwen3Model", namespace, "collected")
    wait_until(lambda: api.get("ConfigMap", namespace, "collected") is None, within=90, what="the garbage collector")

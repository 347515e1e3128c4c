"""A podTemplatePatch that an older CRD stored as an object, after the CRD that wants text is installed.

What is stored goes on: it is handed out whole, the operator writes the status, no server restarts. What is refused is
every edit of the object until the patch is text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
import yaml
from tests.cluster.api import Refused
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.cluster.wrappers import ANNOTATION, Q3d

Object = dict[str, Any]
PATCH = {
    "metadata": {"annotations": {"team": "a", f"{ANNOTATION}start-delay": "2s"}},
    "spec": {"containers": [{"name": "vllm", "env": [{"name": "A", "value": "1"}]}]},
}


def _older(crd: Object) -> Object:
    older = copy.deepcopy(crd)
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["podTemplatePatch"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return older


def _with_object(name: str) -> Object:
    manifest = Q3d(name).manifest
    return manifest | {"spec": manifest["spec"] | {"podTemplatePatch": PATCH}}


def _takes_objects(world: World) -> bool:
    probe = _with_object("probe")
    probe["metadata"]["namespace"] = world.namespace
    try:
        world.api.create(probe, dry_run=True)
    except Refused:
        return False
    return True


@pytest.fixture
def stored(world: World, cluster: devcluster.Cluster, crds: list[Object]) -> Iterator[World]:
    """A namespace with a Ready Qwen3Deployment whose patch is an object, under the CRD of now."""
    crd = next(c for c in crds if c["spec"]["names"]["kind"] == "Qwen3Deployment")
    cluster.apply([_older(crd)])
    try:
        wait_until(lambda: _takes_objects(world), within=30, what="the older CRD is in force")
        world.apply(_with_object("chat"))
        world.wait_ready("chat")
    finally:
        cluster.apply([crd])
    wait_until(lambda: not _takes_objects(world), within=30, what="the CRD of now is in force")
    yield world


def test_an_object_that_is_stored_goes_on(stored: World) -> None:
    before = stored.must("Deployment", "chat")
    assert stored.must("Qwen3Deployment", "chat")["spec"]["podTemplatePatch"] == PATCH
    assert {"name": "A", "value": "1"} in stored.container("chat")["env"]

    # A pod that goes makes the operator write the status twice: the next one takes long enough to be seen.
    (pod,) = stored.list("Pod", labelSelector=stored.must("Qwen3Deployment", "chat")["status"]["selector"])
    stored.delete("Pod", pod["metadata"]["name"])
    stored.wait(lambda: not stored.is_ready("chat"), "the status follows")
    stored.wait_ready("chat")
    after = stored.must("Deployment", "chat")
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "no server restarts"

    words = "spec.podTemplatePatch: Too many: 2: must have at most 0 items"
    for edit in ({"spec": {"preflight": "Warn"}}, {"metadata": {"labels": {"a": "b"}}}):
        with pytest.raises(Refused, match=words):
            stored.patch("Qwen3Deployment", "chat", edit)
    with pytest.raises(Refused, match=words):
        stored.apply(_with_object("chat"))

    stored.apply(Q3d().set(podTemplatePatch=yaml.safe_dump(PATCH)))
    stored.wait_ready("chat")
    converted = stored.must("Deployment", "chat")
    assert converted["metadata"]["generation"] == before["metadata"]["generation"], "the same patch as text is the same"

"""Content that is meant to hold up the operator (attacks 01, 04, 05, 16, 17): the object alone has the word for it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from devcluster.stages import FakeDownload
from tests.cluster.api import KINDS
from tests.cluster.downloads import COMPLETE, CONFIG, stage
from tests.cluster.waiting import AT_ONCE
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

ENDLESS = CONFIG | {
    "num_hidden_layers": 10**15,
    "num_experts": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
}
DEAR = "Bfloat16 is only supported on GPUs with compute capability of at least 8.0 " + "Your " * 50_000
"""A text of 250 KB that an earlier pattern took minutes for."""
RESOURCES = 60
"""Names of GPU resources, each in an object of its own: the nodes were listed for each of them. The attack has 200, and
so has the unit test."""


@pytest.fixture
def victim_is_served(make_world: Callable[[str], World]) -> Callable[[], None]:
    """Check that somebody in another namespace notices nothing."""
    there, numbers = make_world("victim"), itertools.count()

    def check() -> None:
        name = f"victim-{next(numbers)}"  # the children of one that was deleted would be in the way of another
        there.apply(Q3d(name).set(suspend=True))
        there.wait(lambda: there.condition(name, "Accepted").get("status") == "True", "served", within=AT_ONCE)

    return check


def test_endless_layers_are_that_models_own_trouble(world: World, victim_is_served: Callable[[], None]) -> None:
    """Attack 04, as a download reports it: it stays in the Qwen3Model's status, and nobody loops over it."""
    world.api.apply(stage(world.namespace, FakeDownload(COMPLETE | {"config": ENDLESS})))
    try:
        world.apply(Q3d("layers"))
        condition = world.wait_condition("layers", "Accepted", "False", reason="InvalidModelConfig", within=30)
        assert "num_hidden_layers is more than 4,096" in condition["message"]
        victim_is_served()
    finally:
        world.api.delete("Stage", None, f"download-{world.namespace}")


def test_a_text_that_is_dear_to_search(world: World, victim_is_served: Callable[[], None]) -> None:
    """Attack 05. The simulated nodes have no logs; a termination message is searched as a log is, and here no kubelet
    cuts it."""
    world.apply(Q3d("dear").pod(waiting_reason="CrashLoopBackOff"))
    selector = world.wait(lambda: world.must("Qwen3Deployment", "dear")["status"]["selector"])
    pod = world.wait(lambda: world.list("Pod", labelSelector=selector), "a server")[0]["metadata"]["name"]
    (container,) = world.wait(lambda: world.must("Pod", pod)["status"]["containerStatuses"], "it has failed")
    container["lastState"]["terminated"]["message"] = DEAR
    world.patch("Pod", pod, {"status": {"containerStatuses": [container]}}, subresource="status", strategic=True)
    world.wait_condition("dear", "Available", "False", reason="DtypeNotSupported", within=20)
    victim_is_served()


def test_many_resource_names(world: World, victim_is_served: Callable[[], None]) -> None:
    """Attack 17. That no node is listed for them is shown in tests/unit/reconcile/test_nodes.py."""

    def create(number: int) -> None:
        it = Q3d(f"d-{number}", world.namespace).set(gpu={"resourceName": f"example.com/gpu-{number}"}, suspend=True)
        world.api.create(it.manifest)

    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(create, number) for number in range(RESOURCES)]
        victim_is_served()
        for it in made:
            it.result()
    victim_is_served()


PATCHES = {
    "labels": ("metadata: {labels: text}", "podTemplatePatch.metadata.labels is the value 'text', and has to be a map"),
    "replace": ("$patch: replace", "podTemplatePatch.$patch: a patch changes the pod template"),
    "list": ("metadata: []", "podTemplatePatch.metadata is a list, and has to be a map"),
    "deep": ("{a: " * 40 + "1" + "}" * 40, "podTemplatePatch: line 1, column 129: nested deeper than 32 levels"),
    "anchors": ("a: &a [1]\nb: *a", "podTemplatePatch: line 1, column 4: anchors and aliases are not taken"),
}


def test_patches_that_are_none(world: World, victim_is_served: Callable[[], None]) -> None:
    """Attack 16, and its sisters in the text."""
    for name, (patch, _) in PATCHES.items():
        world.apply(Q3d(name).set(podTemplatePatch=patch))
    for name, (_, words) in PATCHES.items():
        condition = world.wait_condition(name, "Accepted", "False", reason="InvalidPatch", within=20)
        assert words in condition["message"]
    victim_is_served()


@pytest.mark.parametrize("levels", [1100, 5000])
def test_what_is_deep_ends_nobody(world: World, victim_is_served: Callable[[], None], levels: int) -> None:
    """Attack 01 by who may write a status, where alone something untyped is left: kopf parses it, and goes on."""
    world.apply(Q3d("deep").set(suspend=True))
    world.wait(lambda: world.must("Qwen3Deployment", "deep").get("status"))
    path = KINDS["Qwen3Deployment"].path(world.namespace, "deep", "status")
    change = '{"status":{"model":{"config":' + '{"a":' * levels + "1" + "}" * levels + "}}}"
    with contextlib.suppress(RecursionError):  # the answer repeats it, and this is not the operator's parser
        world.api.request("PATCH", path, change.encode(), content_type="application/merge-patch+json")
    victim_is_served()

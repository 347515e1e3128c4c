"""Content that is meant to hold up the operator (attacks 01, 04 and 16): the object alone has the word for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from devcluster.stages import FakeDownload
from tests.cluster.api import KINDS
from tests.cluster.downloads import COMPLETE, CONFIG, stage
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

ENDLESS = CONFIG | {
    "num_hidden_layers": 10**15,
    "num_experts": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
}
AT_ONCE = 5.0
"""Seconds in which somebody else's new object has its conditions, whatever goes on."""


@pytest.fixture
def victim_is_served(make_world: Callable[[str], World]) -> Callable[[], None]:
    """Check that somebody in another namespace notices nothing."""
    there = make_world("victim")

    def check() -> None:
        there.delete("Qwen3Deployment", "victim")
        there.wait_gone("Qwen3Deployment", "victim")
        there.apply(Q3d("victim").set(suspend=True))
        there.wait(lambda: there.condition("victim", "Accepted").get("status") == "True", "served", within=AT_ONCE)

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

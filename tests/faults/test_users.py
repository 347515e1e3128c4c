"""A user hears of its model whenever that changes, though the model does not know of it (yet)."""

from __future__ import annotations

from typing import Any

from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3m
from tests.faults.bench import Bench
from tests.faults.operator_thread import Meanwhile
from tests.faults.scenarios import CR, OTHER

Object = dict[str, Any]
SOON = 10.0
"""Seconds within which an event is acted upon; the resync would come after ten minutes."""


def test_a_platforms_model_is_deleted_before_it_names_its_user(bench: Bench) -> None:
    with bench.case("deleted") as case:
        world = case.world
        first = case.operator()
        world.apply(Q3m("platform"))
        case.wait_quiet(first, lambda: world.is_ready("platform", "Qwen3Model"), "the model is there")
        first.stop()
        naming_its_user = Meanwhile("/qwen3models/platform/status", lambda: _delete_when_served(world))
        case.operator(naming_its_user)
        world.apply(CR)
        world.wait(lambda: world.get("Qwen3Model", shared_name(CR)), "one of its own", within=30 + SOON)
        world.wait_ready("chat")


def test_servers_move_to_a_platforms_model_when_it_is_ready(bench: Bench) -> None:
    """The model is used by nobody until they have moved."""
    with bench.case("moves") as case:
        world = case.world
        operator = case.operator()
        world.apply(CR)
        world.wait_ready("chat")
        world.api.create(stage(world.namespace, NEVER_ENDS))
        world.apply(Q3m("platform").set(id=OTHER))
        world.set_spec("chat", model={"id": OTHER})
        world.wait_condition("chat", "ModelReady", "False", reason="Downloading")
        world.wait(lambda: operator.idle, "rest: no reconcile is under way that would see the next change by chance")
        world.api.delete("Stage", None, f"download-{world.namespace}")
        (job,) = (job for job in world.list("Job") if job["metadata"]["name"].startswith("platform"))
        world.delete("Job", job["metadata"]["name"])  # the next one ends at once
        world.wait_ready("platform", "Qwen3Model")
        world.wait(lambda: "platform" in str(world.must("Deployment", "chat")), "servers of it", within=SOON)
        world.wait_ready("chat")


def test_the_status_of_what_was_deleted_is_taken_back_from_what_was_made_anew(bench: Bench) -> None:
    """It is applied again at the very moment of the last write: a batch that has ended would not run again."""
    with bench.case("anew") as case:
        world, made = case.world, list[Object]()

        def make_anew() -> None:
            world.delete("Qwen3Model", "weights")
            world.wait_gone("Qwen3Model", "weights")
            made.append(world.apply(Q3m("weights")))

        case.operator(Meanwhile("/qwen3models/weights/status", make_anew))
        world.apply(Q3m("weights"))
        world.wait(lambda: made, "it is made anew")

        def written() -> list[bool]:
            """Whether each version of the new one has conditions."""
            versions = world.history("Qwen3Model", "weights", made[0])
            return ["conditions" in it.get("status", {}) for it in versions]

        world.wait(lambda: written()[:2] == [True, False], "the status of the one before, taken back at once")
        world.wait_condition("weights", "Accepted", "True", kind="Qwen3Model")


def _delete_when_served(world: World) -> None:
    world.wait_ready("chat")
    world.delete("Qwen3Model", "platform")
    world.wait_gone("Qwen3Model", "platform")

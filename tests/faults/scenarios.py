"""Scenarios of a Qwen3Deployment: what stands before the faults begin, what happens during them, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devcluster.stages import FakeDownload
from tests.cluster.downloads import COMPLETE, NEVER_ENDS, failed, stage
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d

CR = Q3d("chat")
OTHER = "Qwen/Qwen3-1.7B"


@dataclass(frozen=True)
class Scenario:
    """`prepare` runs with a sound operator, `act` starts what is disturbed, `meanwhile` runs while nobody works."""

    name: str
    act: Callable[[World], object]
    ended: Callable[[World], bool]
    prepare: Callable[[World], object] = lambda world: None
    meanwhile: Callable[[World], object] = lambda world: None
    prepared: Callable[[World], bool] | None = None
    """When `prepare` has come to its end; None: there is nothing to wait for."""
    same_end: bool = True
    """Whether the namespace ends as without a fault; not so where something is kept only if it was made in time."""


def _ready(world: World) -> bool:
    return world.is_ready("chat")


def _moved(world: World) -> bool:
    """The servers run the other model, and the old one is let go."""
    old = shared_name(CR)
    return _ready(world) and world.get("Qwen3Model", old) is None


def _scaled(world: World) -> bool:
    status = world.must("Qwen3Deployment", "chat").get("status") or {}
    return _ready(world) and status.get("readyReplicas") == 3


def _downloading(world: World) -> bool:
    return world.condition(shared_name(CR), "Downloaded", kind="Qwen3Model").get("reason") == "Downloading"


def _gone(world: World) -> bool:
    """Only the claim is left: weights are kept."""
    left = [k for k in ("Qwen3Deployment", "Qwen3Model", "Job", "Deployment", "Service") if world.list(k)]
    return not left


def _create_while_downloads_fail(world: World) -> None:
    world.api.apply(stage(world.namespace, failed("RevisionNotFound", "there is no such revision", 11)))
    world.apply(CR)


def _mend_downloads(world: World) -> None:
    world.api.apply(stage(world.namespace, FakeDownload(COMPLETE)))


def _failed(world: World) -> bool:
    return world.condition("chat", "Stalled").get("reason") == "RevisionNotFound"


CREATE = Scenario("create", act=lambda w: w.apply(CR), ended=_ready)
CHANGE_MODEL = Scenario(
    "change-model",
    prepare=lambda w: w.apply(CR),
    prepared=_ready,
    act=lambda w: w.set_spec("chat", model={"id": OTHER}),
    ended=_moved,
)
SCALE = Scenario(
    "scale",
    prepare=lambda w: w.apply(CR),
    prepared=_ready,
    act=lambda w: w.set_spec("chat", replicas=3),
    ended=_scaled,
)
DELETE_WHILE_DOWNLOADING = Scenario(
    "delete",
    prepare=lambda w: w.api.apply(stage(w.namespace, NEVER_ENDS)),
    act=lambda w: w.apply(CR),
    meanwhile=lambda w: w.delete("Qwen3Deployment", "chat"),
    ended=_gone,
    same_end=False,
)
MEND_A_FAILED_DOWNLOAD = Scenario(
    "mend",
    prepare=_create_while_downloads_fail,
    prepared=_failed,
    act=_mend_downloads,
    ended=_ready,
)
ALL = (CREATE, CHANGE_MODEL, SCALE, DELETE_WHILE_DOWNLOADING, MEND_A_FAILED_DOWNLOAD)

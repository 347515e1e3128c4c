"""An object that cannot be decoded has the word for it itself, and keeps the rest of its status (security 2a)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3b, Q3d, Q3m
from tests.monitoring.operator_at_work import NAMESPACE, World

from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Key

KINDS = [
    pytest.param(QWEN3_DEPLOYMENTS, Q3d, id="Qwen3Deployment"),
    pytest.param(QWEN3_MODELS, Q3m, id="Qwen3Model"),
    pytest.param(QWEN3_BATCHES, Q3b, id="Qwen3Batch"),
]


def nested(levels: int) -> dict[str, Any]:
    """Maps in maps; pydantic reads some 200 levels."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def seen_deep(world: World, kind: Kind, where: tuple[str, str]) -> None:
    """The watch shows it as another hand wrote it. Such a field stays in a status, whatever the operator applies."""
    part, name = where
    world.changed(kind, "deep")[part][name] = nested(300)
    world.cluster.show(world.operator._store)


@pytest.mark.parametrize(("kind", "builder"), KINDS)
@pytest.mark.parametrize("where", [("spec", "model"), ("status", "download")], ids=lambda where: where[0])
async def test_what_cannot_be_decoded_is_that_objects_invalid_spec(
    kind: Kind, builder: type[Q3d | Q3m | Q3b], where: tuple[str, str]
) -> None:
    world = World()
    for name in ("deep", "sound"):
        world.apply(kind, builder(name))
    await world.reconcile(kind, "deep")
    before = len(world.cluster.writes)
    for _ in range(3):
        seen_deep(world, kind, where)
        await world.reconcile(kind, "deep")
    seen_deep(world, kind, where)
    assert UNDECODABLE in (world.operator._store.get(kind, NAMESPACE, "deep") or {})
    status = world.status(kind, "deep")
    assert status["Accepted"][:2] == ("False", "InvalidSpec")
    assert "nested so deeply" in status["Accepted"][2]
    assert status["Stalled"][0] == "True", "nothing but another spec helps"
    written = [(kind, name) for _, kind, name in world.cluster.writes[before:] if kind != "Event"]
    assert written == [(f"{kind.kind}/status", "deep")], "one write, and none at rest"
    assert not world.operator.queue.failing(Key(kind.kind, NAMESPACE, "deep"))
    await world.reconcile(kind, "sound")
    assert world.status(kind, "sound")["Accepted"][1] != "InvalidSpec"

"""A reconcile ends in exactly one status write where something changed, and in none where nothing did; so does one that
fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster.wrappers import Q3b, Q3d, Q3m
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World, downloaded, everything

from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, JOBS, Kind
from qwen3_operator.controller.queue import LASTING_FAILURES
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.process import Operator
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.context import utc_now

KINDS = {"Qwen3Deployment": QWEN3_DEPLOYMENTS, "Qwen3Model": QWEN3_MODELS, "Qwen3Batch": QWEN3_BATCHES}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counter[int]]]:
    """Kind -> how many reconciles made so many status writes. Checks that they wrote the status of their own object
    alone, after everything else."""
    found: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
    handle = Operator._handle

    async def handled(operator: Operator, key: Key) -> None:
        writes: list[tuple[str, str, str]] = operator.cluster.writes  # type: ignore[attr-defined]
        before = len(writes)
        await handle(operator, key)
        made = [(kind, name) for _, kind, name in writes[before:] if kind != "Event"]
        statuses = [it for it in made if it[0].endswith("/status")]
        assert set(statuses) <= {(f"{key.kind}/status", key.name)}
        assert not statuses or made[-1] == statuses[-1], f"written after the status of {key.name}: {made}"
        found[key.kind][len(statuses)] += 1

    monkeypatch.setattr(Operator, "_handle", handled)
    yield found


def refuse(monkeypatch: pytest.MonkeyPatch, world: World, verb: str, kind: Kind) -> None:
    """Have the API server refuse what it is asked with `verb` about `kind`, but for its status."""
    allowed = getattr(world.cluster, verb)

    async def refused(its: Kind, *args: Any, **more: Any) -> Any:
        if its == kind and not more.get("subresource"):
            raise ApiError(500, "InternalError", "etcd is full")
        return await allowed(its, *args, **more)

    monkeypatch.setattr(world.cluster, verb, refused)


async def test_one_write_a_reconcile_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(monkeypatch) as found:
        world = await everything()
        for kind, name in ((QWEN3_DEPLOYMENTS, SERVED), (QWEN3_MODELS, "large"), (QWEN3_BATCHES, "nightly")):
            await world.reconcile(kind, name)
    for name, numbers in found.items():
        assert set(numbers) <= {0, 1}, f"{name}: status writes -> reconciles: {dict(numbers)}"
        assert numbers[1] and numbers[0], f"{name}: {dict(numbers)}"


TEMPLATE = {"configMapKeyRef": {"name": "template", "key": "jinja"}}
FAILURES = [
    pytest.param(
        QWEN3_DEPLOYMENTS, Q3d("it").engine(chatTemplate=TEMPLATE), ("get", CONFIG_MAPS), id="Qwen3Deployment"
    ),
    pytest.param(QWEN3_MODELS, Q3m("it"), ("get", CLAIMS), id="Qwen3Model"),
    pytest.param(QWEN3_BATCHES, Q3b("it"), ("get", CLAIMS), id="Qwen3Batch"),
]


async def fail_until_it_lasts(world: World, kind: Kind, name: str) -> None:
    for _ in range(LASTING_FAILURES + 2):
        await world.reconcile(kind, name)
    assert world.operator.queue.lasts(Key(kind.kind, NAMESPACE, name)), "it did not fail"
    ready = world.status(kind, name)["Ready"]
    assert ready[:2] == ("False", "ReconcileFailed") and "etcd is full" in ready[2]


@pytest.mark.parametrize(("kind", "builder", "what"), FAILURES)
async def test_a_failure_of_any_kind_is_one_write(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, builder: Q3d | Q3m | Q3b, what: tuple[str, Kind]
) -> None:
    world = World()
    world.apply(kind, builder)
    refuse(monkeypatch, world, *what)
    with counted(monkeypatch) as found:
        await fail_until_it_lasts(world, kind, "it")
    assert found[kind.kind] == {0: LASTING_FAILURES + 1, 1: 1}, "once it lasts, and not again for the same failure"


async def moves_to_another(world: World) -> tuple[Kind, str]:
    """A deployment whose model before is to be let go of, while its servers wait for the new one."""
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    obj = world.changed(QWEN3_DEPLOYMENTS, SERVED)
    obj["spec"]["model"] = {"id": "Qwen/Qwen3-1.7B"}
    obj["metadata"]["generation"] += 1
    return QWEN3_DEPLOYMENTS, SERVED


async def has_ended(world: World) -> tuple[Kind, str]:
    """A batch whose Job has failed, so that nothing holds its model any more."""
    world.apply(QWEN3_BATCHES, Q3b("nightly"))
    world.cluster.put(CLAIMS, {"metadata": {"namespace": NAMESPACE, "name": "answers"}, "spec": {}})
    await world.reconcile(QWEN3_BATCHES, "nightly", 2)
    (model,) = [it["metadata"]["name"] for it in world.cluster.of(QWEN3_MODELS)]
    await downloaded(world, model)
    await world.reconcile(QWEN3_BATCHES, "nightly", 2)
    (job,) = [it for it in world.cluster.of(JOBS) if it["metadata"]["name"].startswith("nightly")]
    job = world.changed(JOBS, job["metadata"]["name"])
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": timestamp(utc_now())}]}
    return QWEN3_BATCHES, "nightly"


@pytest.mark.parametrize("state", [moves_to_another, has_ended])
async def test_what_cannot_be_let_go_of_is_one_write(
    monkeypatch: pytest.MonkeyPatch, state: Callable[[World], Awaitable[tuple[Kind, str]]]
) -> None:
    """The condition does not change to and fro between what the reconcile saw and how it ended."""
    world = World()
    kind, name = await state(world)
    refuse(monkeypatch, world, "delete", QWEN3_MODELS)
    with counted(monkeypatch) as found:
        await fail_until_it_lasts(world, kind, name)
    assert found[kind.kind] == {0: LASTING_FAILURES + 1, 1: 1}
    monkeypatch.undo()
    with counted(monkeypatch) as found:
        await world.reconcile(kind, name, 3)
    assert found[kind.kind] == {0: 2, 1: 1}, "and it gets over it"
    assert world.status(kind, name)["Ready"][1] != "ReconcileFailed"


async def test_a_conflict_at_the_last_write_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said Starting for ever: the API server's conflicts need not come with an event."""
    world = World()
    world.apply(QWEN3_MODELS, Q3m("weights"))
    allowed, refusals = world.cluster.apply, [ApiError(409, "Conflict", "the object has been modified")]

    async def refused(kind: Kind, *args: Any, **more: Any) -> Any:
        if more.get("subresource") and refusals:
            raise refusals.pop()
        return await allowed(kind, *args, **more)

    monkeypatch.setattr(world.cluster, "apply", refused)
    key = Key(QWEN3_MODELS.kind, NAMESPACE, "weights")
    await world.reconcile(QWEN3_MODELS, "weights")
    assert not refusals and "status" not in world.cluster.objects[key]
    assert len(world.operator.queue) == 1, "it is tried again"
    await world.reconcile(QWEN3_MODELS, "weights")
    assert world.cluster.objects[key]["status"]["conditions"]

"""Fairness: what one namespace asks for, others do not wait for (attack 10: models before all others)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster.api import Api
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, Q3m

MODELS = 600
"""Each names a Secret and a StorageClass that are not there, so each is requeued every few seconds."""
WITHIN = 5.0


@pytest.fixture
def flooded(operator: OperatorProcess, make_world: Callable[[str], World], api: Api) -> Iterator[World]:
    """A namespace into which hundreds of models in trouble come while the test runs."""
    attacker = make_world("attacker")

    def create(number: int) -> None:
        model = Q3m(f"m-{number}", attacker.namespace).set(tokenSecretRef={"name": "nope", "key": "t"})
        api.create(model.storage(storageClassName="nope").manifest)

    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(create, number) for number in range(MODELS)]
        yield attacker
        for it in made:
            it.result()
        # One by one: all in one request takes a busy API server longer than it gives itself.
        gone = [pool.submit(api.delete, "Qwen3Model", attacker.namespace, f"m-{number}") for number in range(MODELS)]
        for it in gone:
            it.result()
    api.delete("Namespace", None, attacker.namespace)


def test_others_have_their_conditions_within_seconds(flooded: World, operator: OperatorProcess, world: World) -> None:
    def rises_to(number: float) -> bool:
        return len(flooded.list("Qwen3Model")) >= number

    pid = operator.pid
    for number, share in enumerate((0.1, 0.5, 1.0)):  # of the flood that are there
        wait_until(functools.partial(rises_to, share * MODELS), within=90, what="the flood rises")
        victims = [Q3d(f"d-{number}"), Q3m(f"m-{number}").set(id="Qwen/Qwen3-4B"), Q3b(f"b-{number}")]
        world.apply(*victims)
        applied = time.monotonic()
        for victim in victims:
            name = victim.manifest["metadata"]["name"]
            world.wait(
                lambda kind=victim.kind, name=name: world.conditions(kind, name),  # type: ignore[misc]
                f"{victim.kind} {name} has conditions",
                within=max(0.1, WITHIN - (time.monotonic() - applied)),
            )
        print(f"{len(flooded.list('Qwen3Model'))} models in trouble: conditions {time.monotonic() - applied:.2f} s")
        asked = time.monotonic()
        assert operator.http("/healthz") == (200, "ok") and time.monotonic() - asked < 1
    assert operator.running and operator.pid == pid
    world.wait_ready("d-0")

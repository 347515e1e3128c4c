"""Fairness: what one namespace asks for, others do not wait for (attack 10: models before all others)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.api import Api
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import AT_ONCE, slowness, wait_until
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, Q3m

MODELS = 600
"""Each names a Secret and a StorageClass that are not there, so each is requeued every few seconds."""
WITHIN = 60.0
"""Seconds after which the test gives up. How slow the machine is, is measured when the victims are served."""
FAIR = 100
"""Reconciles of the flood that others may have before them (about 30 on a quiet machine; in one line: hundreds)."""


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


def reconciles(operator: OperatorProcess, kind: str) -> float:
    """How many reconciles of `kind` the operator has ended."""
    name = "qwen3_operator_reconciles_total"
    families = text_string_to_metric_families(operator.http("/metrics")[1])
    return sum(
        it.value for family in families for it in family.samples if it.name == name and it.labels["kind"] == kind
    )


def test_others_do_not_wait_for_a_flood(flooded: World, operator: OperatorProcess, world: World) -> None:
    def rises_to(number: float) -> bool:
        return len(flooded.list("Qwen3Model")) >= number

    pid = operator.pid
    for number, share in enumerate((0.1, 0.5, 1.0)):  # of the flood that are there
        wait_until(functools.partial(rises_to, share * MODELS), within=90, what="the flood rises")
        victims: list[Q3d | Q3m | Q3b] = [
            Q3d(f"d-{number}"),
            Q3m(f"m-{number}").set(id="Qwen/Qwen3-4B"),
            Q3b(f"b-{number}"),
        ]
        world.apply(*victims)
        before, applied = reconciles(operator, "Qwen3Model"), time.monotonic()
        for victim in victims:
            name = victim.manifest["metadata"]["name"]
            world.wait(
                lambda kind=victim.kind, name=name: world.conditions(kind, name),  # type: ignore[misc]
                f"{victim.kind} {name} has conditions",
                within=max(0.1, WITHIN - (time.monotonic() - applied)),
            )
        took, slow = time.monotonic() - applied, slowness()
        passed = reconciles(operator, "Qwen3Model") - before
        print(f"{MODELS * share:.0f} models in trouble: {passed:.0f} reconciles, {took:.2f} s, slowness {slow:.1f}")
        assert passed < FAIR
        assert took < AT_ONCE * slow
        assert operator.http("/healthz") == (200, "ok")
    assert operator.running and operator.pid == pid
    world.wait_ready("d-0")

"""The operator sees too little or is not alone: events that never arrive, and another operator beside it."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from tests.faults.bench import Bench
from tests.faults.scenarios import CHANGE_MODEL, CREATE, SCALE
from tests.faults.test_crash import fault_free, prepare

import qwen3_operator.process
from qwen3_operator.controller.store import Store
from qwen3_operator.handlers import make_registry

REST_SECONDS = 4.0


@pytest.mark.parametrize("lost", [1.0, 0.5])
def test_what_lost_events_left_undone_the_resync_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lost: float
) -> None:
    sound = fault_free(bench, CREATE)
    dice = random.Random(7)

    class Deaf:
        """A store that many a watch event does not reach, once it was filled."""

        def __init__(self, store: Store) -> None:
            self._store = store

        def put(self, *args: Any) -> None:
            if self._hears():
                self._store.put(*args)

        def remove(self, *args: Any) -> None:
            if self._hears():
                self._store.remove(*args)

        def _hears(self) -> bool:
            return not self._store.ready.is_set() or dice.random() >= lost

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    def deaf(store: Store, *args: Any, **kwargs: Any) -> Any:
        return make_registry(Deaf(store), *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(qwen3_operator.process, "make_registry", deaf)
    with bench.case("deaf") as case:
        operator = case.operator(resync_seconds=1)
        CREATE.act(case.world)
        case.world.wait(lambda: CREATE.ended(case.world), "the resync finds it", within=45)
        case.wait_state(sound.state)
        case.world.set_spec("chat", replicas=3)
        case.world.wait(lambda: SCALE.ended(case.world), "the resync finds the change", within=45)
        assert case.jobs_made() == sound.jobs
        assert operator.hook.writes


@pytest.mark.parametrize("scenario", [CREATE, CHANGE_MODEL, SCALE], ids=lambda s: s.name)
def test_two_operators_end_where_one_does_and_do_not_fight(bench: Bench, scenario: Any) -> None:
    sound = fault_free(bench, scenario)
    with bench.case("two") as case:
        prepare(case, scenario)
        first, second = case.operator(identity="first"), case.operator(identity="second")
        scenario.act(case.world)
        case.wait_quiet(first, lambda: scenario.ended(case.world), "two at work")
        case.wait_state(sound.state)
        settled = len(first.hook.writes) + len(second.hook.writes)
        assert settled <= 4 * len(sound.writes) + 4, "a war of writes"
        time.sleep(REST_SECONDS)
        assert len(first.hook.writes) + len(second.hook.writes) == settled, "they go on writing"
        pods = [p for p in case.world.list("Pod") if not p["metadata"].get("deletionTimestamp")]
        assert len([p for p in pods if p["metadata"]["labels"]["app.kubernetes.io/component"] == "download"]) <= 2

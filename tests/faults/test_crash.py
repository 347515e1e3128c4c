"""The operator dies before or after any of its writes; the next one ends as if nothing had been."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
from tests.faults.bench import Bench, Case, sample
from tests.faults.operator_thread import Injector
from tests.faults.scenarios import ALL, DELETE_WHILE_DOWNLOADING, Scenario

POINTS = 5
"""Crash points a scenario in the short mode."""


@dataclass(frozen=True)
class Outcome:
    """What the fault-free run left and needed."""

    state: dict[str, object]
    writes: list[str]
    requests: int
    jobs: int


def prepare(case: Case, scenario: Scenario) -> None:
    """Bring the namespace to where the faults begin, with a sound operator."""
    scenario.prepare(case.world)
    if scenario.prepared is None:
        return
    operator = case.operator()
    case.wait_quiet(operator, lambda: scenario.prepared is not None and scenario.prepared(case.world), "prepared")
    operator.stop()


@functools.cache
def fault_free(bench: Bench, scenario: Scenario) -> Outcome:
    """The scenario without a fault, run once."""
    with bench.case(scenario.name) as case:
        prepare(case, scenario)
        made_before = case.jobs_made()
        operator = case.operator()
        scenario.act(case.world)
        if scenario is DELETE_WHILE_DOWNLOADING:
            case.world.wait(lambda: case.world.list("Job"), "a Job")
        scenario.meanwhile(case.world)
        left = case.wait_quiet(operator, lambda: scenario.ended(case.world), f"{scenario.name} without a fault")
        return Outcome(left, list(operator.hook.writes), operator.sent, case.jobs_made() - made_before)


def crash(bench: Bench, scenario: Scenario, sound: Outcome, number: int, stage: str) -> None:
    """The scenario with a crash at one write."""
    with bench.case(scenario.name) as case:
        prepare(case, scenario)
        made_before = case.jobs_made()
        first = case.operator(Injector(number, stage))
        scenario.act(case.world)
        # Fewer writes than in the sound run may come: reconciles fold together as events happen to arrive.
        first.hook.crashed.wait(6)
        first.stop()
        scenario.meanwhile(case.world)
        second = case.operator()
        case.wait_quiet(second, lambda: scenario.ended(case.world), f"{scenario.name} after the crash")
        if scenario.same_end:
            case.wait_state(sound.state)
        made = case.jobs_made() - made_before
        assert made <= sound.jobs, f"{made} Jobs were made instead of {sound.jobs}: a download was run again"


@pytest.mark.parametrize("scenario", ALL, ids=lambda s: s.name)
def test_crash_at_any_write(bench: Bench, scenario: Scenario) -> None:
    sound = fault_free(bench, scenario)
    assert sound.writes or scenario is DELETE_WHILE_DOWNLOADING
    points = [(number, stage) for number in range(1, len(sound.writes) + 1) for stage in ("before", "after")]
    bench.each(lambda point: crash(bench, scenario, sound, *point), sample(points, POINTS))

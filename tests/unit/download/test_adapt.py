"""The number of connections against modelled links."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qwen3_download.adapt import Adapt


def settle(link: Callable[[int], float], seconds: float = 20, maximum: int = 16) -> list[int]:
    """Connections at every tick of 0.1 s, on a link that moves `link(connections)` bytes/s."""
    adapt, received, seen = Adapt(maximum), 1.0, []
    for tick in range(int(seconds * 10)):
        adapt.tick(tick / 10, int(received))
        received += link(adapt.connections) / 10
        seen.append(adapt.connections)
    return seen


def test_a_limit_for_each_connection_takes_all_of_them_soon() -> None:
    seen = settle(lambda n: 10e6 * n)
    assert seen.index(16) <= 20, "within two seconds"
    assert seen[-1] == 16


def test_a_fast_link_is_judged_sooner() -> None:
    assert settle(lambda n: 1e9 * n).index(16) <= 5, "within half a second"


@pytest.mark.parametrize("rate", [1e6, 200e6])
def test_a_limit_of_the_link_takes_few(rate: float) -> None:
    seen = settle(lambda n: rate)
    assert max(seen) <= 2 and seen[-1] == 1


def test_a_limit_in_between_is_found() -> None:
    assert settle(lambda n: min(10e6 * n, 75e6))[-1] == 8


@pytest.mark.parametrize(("share", "connections"), [(0.4, 1), (0.7, 4)])
def test_a_limit_of_the_machine_takes_one_a_core(share: float, connections: int) -> None:
    adapt, received = Adapt(16), 1.0
    for tick in range(200):
        adapt.tick(tick / 10, int(received), cpu_seconds=4 * share * tick / 10, cores=4)
        received += 200e6 / 10
    assert adapt.connections == connections


def test_a_machine_that_is_busy_for_a_moment_loses_no_connection() -> None:
    adapt, received, busy = Adapt(16), 1.0, 0.0
    for tick in range(200):
        busy += 0.2 if 100 <= tick < 105 else 0.0
        adapt.tick(tick / 10, int(received), cpu_seconds=busy, cores=2)
        received += 10e6 * adapt.connections / 10
    assert adapt.connections == 16


def test_never_more_than_allowed() -> None:
    assert max(settle(lambda n: 10e6 * n, maximum=3)) == 3
    assert max(settle(lambda n: 10e6 * n, maximum=1)) == 1


def test_looks_again_when_the_link_changes() -> None:
    clock = {"n": 0}

    def link(connections: int) -> float:
        clock["n"] += 1
        return 20e6 if clock["n"] < 100 else 10e6 * connections

    assert settle(link, seconds=60)[-1] == 16


def test_nothing_is_decided_before_the_first_byte() -> None:
    adapt = Adapt(16)
    for tick in range(100):
        adapt.tick(tick / 10, 0)
    assert adapt.connections == 1

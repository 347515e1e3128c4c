"""The number of connections against modelled links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.download.links import Link, seconds_to_fetch, settle

from qwen3_download.adapt import LATE, START, Adapt
from qwen3_download.listing import RemoteFile
from qwen3_download.partial import PartialFile
from qwen3_download.pieces import Pieces

EACH = 2e6
LATENCIES = [(0.0, 2), (0.1, 2), (0.1, 7), (0.2, 2), (0.2, 7)]
"""Round trips in seconds, and how many a new connection takes: plain HTTP, or TLS and a redirect to another host."""


def whole(rate: float) -> Callable[[int], float]:
    """A limit of the link."""
    return lambda n: rate / n


def test_a_limit_for_each_connection_takes_all_of_them_soon() -> None:
    seen = settle(Link(lambda n: 10e6))
    assert seen.index(16) <= 20, "within two seconds"
    assert seen[-1] == 16


def test_a_fast_link_is_judged_sooner() -> None:
    assert settle(Link(lambda n: 1e9)).index(16) <= 10, "within a second"


@pytest.mark.parametrize("slow_start", [False, True])
@pytest.mark.parametrize(("rtt", "trips"), LATENCIES)
def test_newcomers_are_judged_by_what_they_send(rtt: float, trips: int, slow_start: bool) -> None:
    """They used to be judged while they were still connecting: 2 of 16 connections, for half a minute each time."""
    seen = settle(Link(lambda n: EACH, rtt, trips, slow_start))
    assert seen[-1] == 16 and sorted(seen) == seen, "no step back on the way"
    assert seen.index(16) <= 10 * (2 + 6 * rtt * trips)


@pytest.mark.parametrize("slow_start", [False, True])
@pytest.mark.parametrize(("rtt", "trips"), LATENCIES)
@pytest.mark.parametrize(("files", "size", "times"), [(1, 1 << 30, 12.5), (4, 1 << 29, 13.5), (1, 84_000_000, 4)])
def test_a_whole_download_takes_as_many_times_a_connections_rate(
    tmp_path: Path, rtt: float, trips: int, slow_start: bool, files: int, size: int, times: float
) -> None:
    """At a round trip of 100 ms, 84 MB used to come at 1.2 times one connection's rate."""
    names = [f"f{n}" for n in range(files)]
    parts = [PartialFile(RemoteFile(n, size, "a" * 64), tmp_path / n, tmp_path / f"{n}.state") for n in names]
    seconds = seconds_to_fetch(Link(lambda n: EACH, rtt, trips, slow_start), Pieces(parts))
    assert files * size / seconds >= times * EACH


@pytest.mark.parametrize("rate", [1e6, 200e6])
@pytest.mark.parametrize(("rtt", "trips"), LATENCIES)
def test_a_limit_of_the_link_takes_few(rate: float, rtt: float, trips: int) -> None:
    seen = settle(Link(whole(rate), rtt, trips), seconds=60)
    assert max(seen) <= 2 * START and seen[-1] == START
    assert sum(number > START for number in seen) < len(seen) / 5, "and tries more but now and then"


def test_a_limit_in_between_is_found() -> None:
    assert settle(Link(lambda n: min(10e6, 75e6 / n)), seconds=9)[-1] == 8


@pytest.mark.parametrize(("share", "connections"), [(0.4, 16), (0.7, 4)])
def test_a_limit_of_the_machine_takes_no_more_than_cores(share: float, connections: int) -> None:
    adapt, received = Adapt(16), [0.0] * 16
    for tick in range(200):
        adapt.tick(tick / 10, [int(r) for r in received], cpu_seconds=4 * share * tick / 10, cores=4)
        received = [r + (10e6 if n < adapt.connections else 0) / 10 for n, r in enumerate(received)]
    assert adapt.connections == connections


def test_a_machine_that_is_busy_for_a_moment_loses_no_connection() -> None:
    adapt, received, busy = Adapt(16), [0.0] * 16, 0.0
    for tick in range(200):
        busy += 0.2 if 100 <= tick < 105 else 0.0
        adapt.tick(tick / 10, [int(r) for r in received], cpu_seconds=busy, cores=2)
        received = [r + (10e6 if n < adapt.connections else 0) / 10 for n, r in enumerate(received)]
    assert adapt.connections == 16


@pytest.mark.parametrize("maximum", [1, 3, 5])
def test_never_more_than_allowed(maximum: int) -> None:
    assert max(settle(Link(lambda n: 10e6), maximum=maximum)) == maximum


def test_a_step_that_brings_nothing_goes_back_to_where_it_came_from() -> None:
    seen = settle(Link(lambda n: 10e6 if n <= START else 40e6 / n), maximum=7, seconds=9)
    assert max(seen) == 7 and seen[-1] == START


def test_measures_again_when_the_link_changes() -> None:
    asked = 0

    def link(connections: int) -> float:
        nonlocal asked
        asked += 1
        return 20e6 / connections if asked < 500 else 10e6

    assert settle(Link(link), seconds=25)[-1] == 16


def test_nothing_is_decided_before_the_first_byte() -> None:
    adapt = Adapt(16)
    for tick in range(600):
        adapt.tick(tick / 10, [0] * 16)
    assert adapt.connections == START


def test_newcomers_that_never_send_hold_nobody_up_for_long() -> None:
    """A hub that lets no more than four in."""
    adapt, received = Adapt(16), [0.0] * 16
    seen = []
    for tick in range(250):
        adapt.tick(tick / 10, [int(r) for r in received])
        seen.append(adapt.connections)
        received = [r + (EACH / 10 if n < 4 else 0) for n, r in enumerate(received)]
    assert max(seen) == 8 and seen[-1] == 4
    assert sum(number == 8 for number in seen) < 10 * (LATE + 8)

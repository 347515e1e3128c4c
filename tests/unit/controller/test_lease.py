"""The Lease, over objects in memory and a fast clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fakes import FakeCluster

from qwen3_operator.controller import lease as lease_module
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import LEASES
from qwen3_operator.controller.lease import Lease

AWAY = ApiError(0, "Unreachable", "gone fishing")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"DURATION": 1.0, "RENEW": 0.05, "RETRY": 0.02}.items():
        monkeypatch.setattr(lease_module, name, seconds)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def lease(cluster: Any, identity: str) -> Lease:
    return Lease(cluster, "infra", "guard", identity)


async def holder(cluster: FakeCluster) -> str:
    found = await cluster.get(LEASES, "infra", "guard")
    assert found is not None
    return str(found["spec"]["holderIdentity"])


async def test_the_first_takes_it_and_a_second_waits(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    waiting = asyncio.create_task(lease(cluster, "two").acquire())
    await asyncio.sleep(0.1)
    assert not waiting.done() and await holder(cluster) == "one"
    waiting.cancel()


async def test_one_that_is_given_back_is_taken_at_once(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    await first.release()
    assert await holder(cluster) == ""
    await asyncio.wait_for(lease(cluster, "two").acquire(), timeout=0.1)
    assert await holder(cluster) == "two"


async def test_a_holder_that_stopped_renewing_is_followed_after_the_duration(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    cluster.objects["Lease", "infra", "guard"]["spec"]["leaseDurationSeconds"] = 0.2
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(lease(cluster, "two").acquire(), timeout=2)
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_a_holder_that_renews_is_never_followed(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(lease(cluster, "two").acquire())
    for _ in range(20):
        cluster.objects["Lease", "infra", "guard"]["spec"]["leaseDurationSeconds"] = 0.2
        await asyncio.sleep(0.05)
    assert not waiting.done() and not first.lost.is_set()
    keeping.cancel()
    waiting.cancel()


async def test_a_restart_under_the_same_name_goes_on_at_once(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    await asyncio.wait_for(lease(cluster, "one").acquire(), timeout=0.1)


async def test_one_that_another_took_is_lost(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    stolen = await cluster.get(LEASES, "infra", "guard")
    assert stolen is not None
    await cluster.replace(LEASES, stolen | {"spec": {"holderIdentity": "two"}}, manager="two")
    await asyncio.wait_for(first.keep(), timeout=1)
    assert first.lost.is_set()
    await first.release()
    assert await holder(cluster) == "two", "what is lost is not given back"


async def test_a_short_absence_of_the_api_server_is_survived(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.fail_with = [AWAY, AWAY]
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(0.25)
    assert not first.lost.is_set() and cluster.fail_with == []
    keeping.cancel()


async def test_a_long_absence_loses_it(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.fail_with = [AWAY] * 1000
    await asyncio.wait_for(first.keep(), timeout=5)
    assert first.lost.is_set()


async def test_of_many_that_race_one_wins(cluster: FakeCluster) -> None:
    racing = [asyncio.create_task(lease(cluster, f"racer-{n}").acquire()) for n in range(5)]
    await asyncio.sleep(0.15)
    assert sum(task.done() for task in racing) == 1
    for task in racing:
        task.cancel()


async def test_a_server_that_forbids_it_is_an_error(cluster: FakeCluster) -> None:
    cluster.fail_with = [ApiError(403, "Forbidden", "leases is forbidden")]
    with pytest.raises(ApiError, match="Forbidden"):
        await lease(cluster, "one").acquire()

"""The Lease, over objects in memory and a clock that jumps."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.unit.clock import jumping
from tests.unit.fakes import FakeCluster

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import LEASES
from qwen3_operator.controller.lease import DEADLINE, DURATION, RENEW, RETRY, TRY, Lease, LeaseLost

AWAY = ApiError(0, "Unreachable", "gone fishing")
HTML = ValueError("expected value at line 1 column 1: <html>")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def lease(cluster: Any, identity: str) -> Lease:
    return Lease(cluster, "infra", "guard", identity)


async def holder(cluster: FakeCluster) -> str:
    found = await cluster.get(LEASES, "infra", "guard")
    assert found is not None
    return str(found["spec"]["holderIdentity"])


@jumping
async def test_the_first_takes_it_and_a_second_waits(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    waiting = asyncio.create_task(lease(cluster, "two").acquire())
    await asyncio.sleep(DURATION - RETRY)
    assert not waiting.done() and await holder(cluster) == "one"
    waiting.cancel()


@jumping
async def test_one_that_is_given_back_is_taken_at_once(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    await first.release()
    assert await holder(cluster) == ""
    await asyncio.wait_for(lease(cluster, "two").acquire(), timeout=0.1)
    assert await holder(cluster) == "two"


@jumping
async def test_a_holder_that_stopped_renewing_is_followed_after_the_duration(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(lease(cluster, "two").acquire(), timeout=DURATION + 2 * RETRY)
    assert asyncio.get_running_loop().time() - started > DURATION


@jumping
async def test_a_holder_that_renews_is_never_followed(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(lease(cluster, "two").acquire())
    await asyncio.sleep(3600)
    assert not waiting.done() and not keeping.done()
    keeping.cancel()
    waiting.cancel()


@jumping
async def test_a_restart_under_the_same_name_goes_on_at_once(cluster: FakeCluster) -> None:
    await lease(cluster, "one").acquire()
    await asyncio.wait_for(lease(cluster, "one").acquire(), timeout=0.1)


@jumping
async def test_one_that_another_took_is_lost(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    stolen = await cluster.get(LEASES, "infra", "guard")
    assert stolen is not None
    await cluster.replace(LEASES, stolen | {"spec": {"holderIdentity": "two"}}, manager="two")
    with pytest.raises(LeaseLost, match="held by two"):
        await asyncio.wait_for(first.keep(), timeout=RENEW + 0.1)
    await first.release()
    assert await holder(cluster) == "two", "what is lost is not given back"


@pytest.mark.parametrize("failure", [AWAY, HTML, TypeError("no object"), ApiError(403, "Forbidden", "for a moment")])
@jumping
async def test_a_short_absence_of_the_api_server_is_survived(cluster: FakeCluster, failure: Exception) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.fail_with = [failure, failure]
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(RENEW + 1.5 * RETRY)
    assert not keeping.done() and cluster.fail_with == []
    version = cluster.objects["Lease", "infra", "guard"]["metadata"]["resourceVersion"]
    await asyncio.sleep(DEADLINE)
    assert cluster.objects["Lease", "infra", "guard"]["metadata"]["resourceVersion"] != version, "it is renewed again"
    keeping.cancel()


@pytest.mark.parametrize("failure", [AWAY, HTML])
@jumping
async def test_a_long_absence_loses_it(
    cluster: FakeCluster, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.fail_with = [failure] * 1000
    with caplog.at_level(logging.WARNING), pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(first.keep(), timeout=DURATION)
    assert "the lease was not renewed" in caplog.text, "never in silence"


@jumping
async def test_a_renewal_that_hangs_loses_it_before_another_may_take_it(cluster: FakeCluster) -> None:
    first, loop = lease(cluster, "one"), asyncio.get_running_loop()
    await first.acquire()
    acquired = loop.time()
    cluster.hangs = True
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(first.keep(), timeout=DURATION)
    assert loop.time() - acquired <= DEADLINE < DURATION
    await asyncio.wait_for(first.release(), timeout=0.1)


@jumping
async def test_a_request_that_hangs_is_given_up_and_the_next_one_renews(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    cluster.hangs = True
    await asyncio.sleep(RENEW + TRY)
    cluster.hangs = False
    await asyncio.sleep(DURATION)
    assert not keeping.done()
    keeping.cancel()


@jumping
async def test_a_renewal_whose_answer_was_lost_is_still_ours(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.lose_answers = 1
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(DURATION)
    assert not keeping.done() and cluster.lose_answers == 0, "a conflict with our own write is no loss"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await first.release()
    assert await holder(cluster) == ""


@jumping
async def test_it_is_given_back_though_the_last_answer_was_lost(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    live = await cluster.get(LEASES, "infra", "guard")
    assert live is not None
    await cluster.replace(LEASES, live, manager="one")  # a renewal that was cancelled on its way
    await first.release()
    assert await holder(cluster) == ""


@jumping
async def test_one_that_was_deleted_is_made_anew(cluster: FakeCluster) -> None:
    first = lease(cluster, "one")
    await first.acquire()
    cluster.objects.clear()
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(DURATION)
    assert not keeping.done() and await holder(cluster) == "one"
    keeping.cancel()


@jumping
async def test_an_answer_that_is_no_lease_renews_nothing(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lease(cluster, "one")
    await first.acquire()

    async def replace(*_: Any, **__: Any) -> Any:
        return {"kind": "Status"}

    monkeypatch.setattr(cluster, "replace", replace)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.keep(), timeout=DURATION)


@pytest.mark.parametrize("failure", [AWAY, HTML])
@jumping
async def test_acquiring_outlasts_what_passes(
    cluster: FakeCluster, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fail_with = [failure, failure]
    cluster.lose_answers = 1
    with caplog.at_level(logging.WARNING):
        await asyncio.wait_for(lease(cluster, "one").acquire(), timeout=3.5 * RETRY)
    assert await holder(cluster) == "one"
    assert caplog.text.count("the lease was not acquired") == 3


@jumping
async def test_acquiring_outlasts_a_request_that_hangs(cluster: FakeCluster) -> None:
    cluster.hangs = True
    acquiring = asyncio.create_task(lease(cluster, "one").acquire())
    await asyncio.sleep(100)
    assert not acquiring.done()
    cluster.hangs = False
    await asyncio.wait_for(acquiring, timeout=TRY + RETRY)


@jumping
async def test_of_many_that_race_one_wins(cluster: FakeCluster) -> None:
    racing = [asyncio.create_task(lease(cluster, f"racer-{n}").acquire()) for n in range(5)]
    await asyncio.sleep(DURATION)
    assert sum(task.done() for task in racing) == 1
    for task in racing:
        task.cancel()


@jumping
async def test_a_server_that_forbids_it_is_an_error(cluster: FakeCluster) -> None:
    cluster.fail_with = [ApiError(403, "Forbidden", "leases is forbidden")]
    with pytest.raises(ApiError, match="Forbidden"):
        await lease(cluster, "one").acquire()

"""The store against what is listed: what events never said, and that a listing that fails harms nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.clock import jumping

from qwen3_operator.controller.cluster import ApiError, Name
from qwen3_operator.controller.kinds import DEPLOYMENTS, HTTP_ROUTES, PODS, Kind
from qwen3_operator.controller.resync import OTHERS_SECONDS, Resync, Scope
from qwen3_operator.controller.store import Kept, Object, Store

LABELS = "managed=by-us"


class Cluster:
    """What is there. Listing Pods fails with the next of `failures`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str], Object] = {}
        self.failures: list[Exception] = []
        self.listings = 0
        self.read: list[str] = []
        self.store = Store({PODS: Kept(), DEPLOYMENTS: Kept()})
        self.changes: list[tuple[str, str]] = []
        self.store.listeners.append(self.listen)
        self.resync = Resync(self, self.store, [Scope(PODS, None, LABELS), Scope(DEPLOYMENTS, "team")])  # type: ignore[arg-type]

    def listen(self, kind: Kind, before: Object | None, after: Object | None, own: bool) -> None:
        """As the operator does, that what changes is reconciled."""
        assert not own
        name = (after or before or {})["metadata"]["name"]
        self.changes.append((name, "gone" if after is None else "new" if before is None else "changed"))

    def make(self, name: str, version: int, *, kind: Kind = PODS, namespace: str = "team", uid: str = "") -> Object:
        """Have it there; returns it."""
        meta = {"namespace": namespace, "name": name, "uid": uid or f"u-{name}", "resourceVersion": str(version)}
        self.objects[kind, name] = {"metadata": meta}
        return self.objects[kind, name]

    def see(self, name: str, kind: Kind = PODS) -> None:
        """An event brings it."""
        self.store.put(kind, self.objects[kind, name])

    async def names(self, kind: Kind, namespace: str | None, *, labels: str) -> list[Name]:
        self.listings += 1
        assert (labels, namespace) == ((LABELS, None) if kind == PODS else ("", "team"))
        if kind == PODS and self.failures:
            raise self.failures.pop(0)
        metas = [obj["metadata"] for (its, _), obj in self.objects.items() if its == kind]
        return [Name(m["namespace"], m["name"], m["uid"], m["resourceVersion"]) for m in metas]

    async def list(self, kind: Kind, namespace: str, *, labels: str, fields: str) -> list[Object]:
        assert (labels, namespace) == (LABELS if kind == PODS else "", "team")
        name = fields.removeprefix("metadata.name=")
        self.read.append(name)
        return [self.objects[kind, name]] if (kind, name) in self.objects else []


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@jumping
async def test_what_vanished_goes_and_what_was_missed_comes(cluster: Cluster) -> None:
    for name in ("same", "vanished", "old", "made anew"):
        cluster.make(name, 1)
        cluster.see(name)
    cluster.make("unheard of", 2)
    cluster.make("old", 3)
    cluster.make("made anew", 4, uid="another")
    del cluster.objects[PODS, "vanished"]
    cluster.changes.clear()
    await cluster.resync.compare()
    assert sorted(cluster.changes) == [
        ("made anew", "gone"),
        ("made anew", "new"),
        ("old", "changed"),
        ("unheard of", "new"),
        ("vanished", "gone"),
    ]
    assert sorted(cluster.read) == ["made anew", "old", "unheard of"]
    cluster.changes.clear()
    await cluster.resync.compare()
    assert cluster.changes == [] and len(cluster.read) == 3


@jumping
async def test_where_all_is_right_nothing_is_read_and_nobody_waits(cluster: Cluster) -> None:
    cluster.make("same", 1)
    cluster.see("same")
    await cluster.resync.compare()
    assert (cluster.listings, cluster.read, asyncio.get_running_loop().time()) == (2, [], 0.0)


@jumping
async def test_other_namespaces_are_another_watchs(cluster: Cluster) -> None:
    cluster.make("theirs", 1, kind=DEPLOYMENTS, namespace="others")
    cluster.see("theirs", DEPLOYMENTS)
    del cluster.objects[DEPLOYMENTS, "theirs"]
    await cluster.resync.compare()
    assert cluster.store.get(DEPLOYMENTS, "others", "theirs") is not None


@jumping
async def test_what_comes_while_it_lists_stays(cluster: Cluster) -> None:
    listing = cluster.names

    async def slow(kind: Kind, namespace: str | None, *, labels: str) -> list[Name]:
        found = await listing(kind, namespace, labels=labels)
        if kind == PODS:
            cluster.make("new", 5)
            cluster.see("new")
        return found

    cluster.names = slow  # type: ignore[method-assign]
    await cluster.resync.compare()
    assert cluster.store.get(PODS, "team", "new") is not None


@jumping
@pytest.mark.parametrize("error", [ApiError(0, "Unreachable", "away"), ValueError("<html>"), RecursionError()])
async def test_a_listing_that_fails_takes_nothing_away(
    cluster: Cluster, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.make("pod", 1)
    cluster.see("pod")
    cluster.objects.clear()
    cluster.make("missed", 1, kind=DEPLOYMENTS)
    cluster.failures = [error]
    await cluster.resync.compare()
    assert cluster.store.get(PODS, "team", "pod") is not None
    assert cluster.store.get(DEPLOYMENTS, "team", "missed") is not None, "the others are compared"
    assert f"resync of pods: {type(error).__name__}" in caplog.text


@jumping
async def test_it_goes_on_for_ever_and_at_once_after_a_gap(cluster: Cluster) -> None:
    cluster.failures = [TypeError("a fault of ours")]
    rounds: list[float] = []
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(cluster.resync.run(600, lambda: rounds.append(loop.time())))
    await asyncio.sleep(601)
    assert rounds == [600]
    cluster.make("vanished", 1)
    cluster.see("vanished")
    cluster.objects.clear()
    cluster.resync.relisted.set()
    await asyncio.sleep(5)
    assert cluster.changes[-1] == ("vanished", "gone")
    assert rounds == [600], "what did not change is left alone"
    await asyncio.sleep(600)
    assert len(rounds) == 2 and not running.done()
    running.cancel()


@jumping
async def test_the_store_is_ready_when_all_that_exists_is_in_it(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.make("one", 1)
    cluster.make("deleted meanwhile", 1)
    cluster.failures = [ApiError(403, "Forbidden", "for a moment"), ValueError("<html>")]
    filling = asyncio.create_task(cluster.resync.fill())
    await asyncio.sleep(3)
    assert not cluster.store.ready.is_set() and caplog.text.count("pods are not listed yet") == 2
    cluster.see("one")
    await asyncio.sleep(3)
    assert not cluster.store.ready.is_set()
    del cluster.objects[PODS, "deleted meanwhile"]  # no watch will ever bring it
    await asyncio.wait_for(filling, 3)
    assert cluster.store.ready.is_set()


@jumping
async def test_a_server_that_asks_to_wait_is_not_asked_before(cluster: Cluster) -> None:
    busy: Any = ApiError(429, "TooManyRequests", "later")
    busy.retry_after = 20.0
    cluster.failures = [busy]
    await cluster.resync.fill()
    assert asyncio.get_running_loop().time() == 20


@jumping
async def test_a_kind_of_others_is_waited_for_a_while_only() -> None:
    class Broken:
        async def names(self, kind: Kind, namespace: str | None, *, labels: str) -> list[Name]:
            if kind == HTTP_ROUTES:
                raise ApiError(500, "InternalError", "conversion webhook failed: no endpoints available")
            return []

    store = Store({DEPLOYMENTS: Kept(), HTTP_ROUTES: Kept()})
    scopes = [Scope(HTTP_ROUTES), Scope(DEPLOYMENTS)]
    await Resync(Broken(), store, scopes, [HTTP_ROUTES]).fill()  # type: ignore[arg-type]
    assert store.ready.is_set() and asyncio.get_running_loop().time() == OTHERS_SECONDS

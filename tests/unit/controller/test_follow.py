"""Objects by a list and a watch: gaps are closed by a list, and what is there stays while nobody answers; a kind may
come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from qwen3_operator.controller import follow
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.follow import Feed, Follower, Mirror
from qwen3_operator.controller.kinds import ENDPOINT_SLICES, Kind
from qwen3_operator.controller.resync import Scope
from qwen3_operator.controller.store import Kept, Store

Step = tuple[str, Object] | Exception
SCOPE = Scope(ENDPOINT_SLICES, "team", "a=b")
NOT_SERVED = ApiError(404, "NotFound", "404 page not found")
TOO_OLD = ApiError(410, "Expired", "too old")


def it(name: str, version: int, **more: Any) -> Object:
    meta = {"namespace": "team", "name": name, "uid": f"uid of {name}", "resourceVersion": str(version)}
    return {"metadata": meta | {"managedFields": [1]}, **more}


class Cluster:
    """Each list and each watch answers with the next of its scripts; a list has one object on each page."""

    def __init__(self, lists: list[list[Object] | Exception], watches: list[list[Step]]) -> None:
        self.lists, self.watches = lists, watches
        self.versions: list[str] = []

    async def listed(self, kind: Any, namespace: str | None, *, labels: str) -> AsyncIterator[tuple[list[Object], str]]:
        assert Scope(kind, namespace, labels) == SCOPE
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        for number in range(max(1, len(found))):
            yield found[number : number + 1], "10"

    async def watch(
        self, kind: Any, namespace: str | None, *, labels: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, Object]]:
        self.versions.append(version)
        for step in self.watches.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_BACKOFF", 0.0)
    monkeypatch.setattr(follow, "MOST_BACKOFF", 0.0)


async def run(cluster: Cluster, sink: follow.Sink) -> None:
    """Until the scripts are at their end."""
    with pytest.raises(IndexError):
        async with asyncio.timeout(20):
            await Follower(cluster, SCOPE, sink).run()  # type: ignore[arg-type]


@pytest.fixture
def followed(at_once: None) -> Callable[..., Any]:
    """Returns the names after each change, and the mirror."""

    async def mirrored(cluster: Cluster) -> tuple[list[list[str]], Mirror]:
        seen: list[list[str]] = []
        mirror = Mirror(lambda objects: seen.append(sorted(name for _, name in objects)))
        await run(cluster, mirror)
        return seen, mirror

    return mirrored


async def test_what_happens_is_seen(followed: Callable[..., Any]) -> None:
    events: list[Step] = [("ADDED", it("b", 11)), ("BOOKMARK", it("", 15)), ("DELETED", it("a", 16))]
    cluster = Cluster([[it("a", 9)]], [events, [("MODIFIED", it("b", 17, x=1))]])
    seen, mirror = await followed(cluster)
    assert seen == [["a"], ["a", "b"], ["b"], ["b"]]
    assert cluster.versions == ["10", "16", "17"], "a watch that ends goes on where it was"
    assert mirror.objects["team", "b"]["x"] == 1 and mirror.complete
    assert "managedFields" not in mirror.objects["team", "b"]["metadata"]


async def test_a_gap_is_closed_by_a_list(followed: Callable[..., Any]) -> None:
    seen, _ = await followed(Cluster([[it("a", 9), it("b", 9)], [it("c", 9)]], [[TOO_OLD], []]))
    assert seen == [["a", "b"], ["c"]], "none while it is being listed"


async def test_what_was_seen_stays_while_nobody_answers(followed: Callable[..., Any]) -> None:
    away = ApiError(0, "Unreachable", "away")
    seen, mirror = await followed(Cluster([[it("a", 9)], away, away], [[away]]))
    assert seen == [["a"]] and list(mirror.objects) == [("team", "a")]


async def test_lists_that_are_too_old_at_once_have_pauses_between_them(
    followed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FIRST_BACKOFF", pause := 0.05)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await followed(Cluster([[], [], [], []], [[TOO_OLD] for _ in range(4)]))
    assert loop.time() - began >= 4 * pause


class Fed:
    """A store whose only kind is fed, and what its listeners hear."""

    def __init__(self) -> None:
        self.store = Store({ENDPOINT_SLICES: Kept()})
        self.heard: list[str] = []
        self.store.listeners.append(self.hear)

    def hear(self, kind: Kind, before: Object | None, after: Object | None, own: bool) -> None:
        change = "new" if before is None else "changed" if after else "gone"
        self.heard.append(f"{(after or before or {})['metadata']['name']} {change}")

    async def run(self, cluster: Cluster) -> list[str]:
        await run(cluster, Feed(self.store, SCOPE, self.come_or_gone))
        return self.heard

    def come_or_gone(self) -> None:
        self.heard.append("served" if ENDPOINT_SLICES in self.store.kinds else "not served")

    @property
    def names(self) -> list[str]:
        return sorted(name for (_, name), _ in self.store.names(ENDPOINT_SLICES))


async def test_the_store_is_fed(at_once: None) -> None:
    fed = Fed()
    events: list[Step] = [("ADDED", it("b", 11)), ("MODIFIED", it("a", 12)), ("DELETED", it("b", 13)), TOO_OLD]
    heard = await fed.run(Cluster([[it("a", 8)], [it("c", 9)]], [events]))
    assert heard == ["a new", "b new", "a changed", "b gone", "c new"]
    assert fed.names == ["a", "c"], "what we wrote after the version of the list is in none of its pages"


async def test_what_vanished_in_a_gap_is_gone(at_once: None) -> None:
    fed = Fed()
    elsewhere = it("x", 1)
    elsewhere["metadata"]["namespace"] = "other"
    fed.store.put(ENDPOINT_SLICES, elsewhere)
    await fed.run(Cluster([[it("a", 8), it("b", 9)], [it("b", 9)]], [[TOO_OLD]]))
    assert fed.names == ["b", "x"], "what is in another namespace is not this one's to remove"


async def test_a_kind_that_goes_is_left_out_until_it_is_there_again(
    at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    fed = Fed()
    gone: list[Step] = [("DELETED", it("a", 11)), NOT_SERVED]
    heard = await fed.run(Cluster([[it("a", 8), it("b", 9)], NOT_SERVED, NOT_SERVED, [it("c", 20)]], [gone]))
    assert heard == ["a new", "b new", "a gone", "b gone", "not served", "served", "c new"] and fed.names == ["c"]
    assert caplog.text.count("does not serve endpointslices.discovery.k8s.io/v1 any more") == 1


async def test_a_kind_that_is_not_there_is_left_out(at_once: None) -> None:
    fed = Fed()
    await fed.run(Cluster([NOT_SERVED, NOT_SERVED], []))
    assert ENDPOINT_SLICES not in fed.store.kinds

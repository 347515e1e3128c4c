"""Objects by a list and a watch: gaps are closed by a list, and what is there stays while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from qwen3_operator.controller import follow
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.follow import Follower
from qwen3_operator.controller.kinds import ENDPOINT_SLICES

Step = tuple[str, Object] | Exception


def it(name: str, version: int, **more: Any) -> Object:
    meta = {"namespace": "team", "name": name, "resourceVersion": str(version), "managedFields": [1]}
    return {"metadata": meta, **more}


class Cluster:
    """Each list and each watch answers with the next of its scripts."""

    def __init__(self, lists: list[list[Object] | Exception], watches: list[list[Step]]) -> None:
        self.lists, self.watches = lists, watches
        self.versions: list[str] = []

    async def listed(self, kind: Any, namespace: str | None, *, labels: str) -> tuple[list[Object], str]:
        assert (kind, namespace, labels) == (ENDPOINT_SLICES, "team", "a=b")
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return found, "10"

    async def watch(
        self, kind: Any, namespace: str | None, *, labels: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, Object]]:
        self.versions.append(version)
        for step in self.watches.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run until the scripts are at their end; returns the names after each change, and the follower."""
    monkeypatch.setattr(follow, "FIRST_BACKOFF", 0.0)

    async def run(cluster: Cluster) -> tuple[list[list[str]], Follower]:
        seen: list[list[str]] = []
        follower = Follower(
            cluster,  # type: ignore[arg-type]
            ENDPOINT_SLICES,
            "team",
            "a=b",
            lambda objects: seen.append(sorted(name for _, name in objects)),
        )
        with pytest.raises(IndexError):
            async with asyncio.timeout(20):
                await follower.run()
        return seen, follower

    return run


async def test_what_happens_is_seen(followed: Callable[..., Any]) -> None:
    events: list[Step] = [("ADDED", it("b", 11)), ("BOOKMARK", it("", 15)), ("DELETED", it("a", 16))]
    cluster = Cluster([[it("a", 9)]], [events, [("MODIFIED", it("b", 17, x=1))]])
    seen, follower = await followed(cluster)
    assert seen == [["a"], ["a", "b"], ["b"], ["b"]]
    assert cluster.versions == ["10", "16", "17"], "a watch that ends goes on where it was"
    assert follower.objects["team", "b"]["x"] == 1 and follower.listed
    assert "managedFields" not in follower.objects["team", "b"]["metadata"]


async def test_a_gap_is_closed_by_a_list(followed: Callable[..., Any]) -> None:
    gone = ApiError(410, "Expired", "too old")
    seen, _ = await followed(Cluster([[it("a", 9)], [it("b", 9)]], [[gone], []]))
    assert seen == [["a"], ["b"]]


async def test_what_was_seen_stays_while_nobody_answers(followed: Callable[..., Any]) -> None:
    away = ApiError(0, "Unreachable", "away")
    seen, follower = await followed(Cluster([[it("a", 9)], away, away], [[away]]))
    assert seen == [["a"]] and list(follower.objects) == [("team", "a")]


async def test_lists_that_are_too_old_at_once_have_pauses_between_them(
    followed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FIRST_BACKOFF", pause := 0.05)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await followed(Cluster([[], [], [], []], [[ApiError(410, "Expired", "too old")] for _ in range(4)]))
    assert loop.time() - began >= 4 * pause

"""Two nodes, each with a cache of its own, bid for one lock: there are never two owners (nfs.py is the model)."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.download.nfs import Client, Inode, Server

from qwen3_download import bid
from qwen3_download.bid import BEAT, FENCE, STALE, Bid

PATH = Path("/volume/.model.lock")
_CLIENTS: list[Client] = []


@pytest.fixture(autouse=True)
def flock_of_the_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def flock(fd: int, operation: int) -> None:
        next(client for client in _CLIENTS if client.has(fd)).flock(fd)

    monkeypatch.setattr(fcntl, "flock", flock)
    yield
    _CLIENTS.clear()


class Node:
    """A process on a node of its own, which does as Lock does."""

    def __init__(self, server: Server, name: str, **client: Any) -> None:
        self.client = Client(server, **client)
        _CLIENTS.append(self.client)
        self.bid = Bid(PATH, self.client, kernel=name)
        self.owns = False
        self.lost_at: float | None = None
        self.paused = False
        self._next = 0.0

    def step(self) -> None:
        now = self.client.server.now
        self.client.write_back()
        if self.paused:
            return
        if self.owns and self.bid.expired(now):
            self.owns, self.lost_at = False, now
        if now < self._next or self.lost_at is not None:
            return
        self._next = now + (BEAT if self.owns else 0.5)
        if self.owns:
            if not self.bid.beat(now):
                self.owns, self.lost_at = False, now
        else:
            self.owns = self.bid.try_take(now)


def run(server: Server, nodes: list[Node], seconds: float) -> list[tuple[float, list[int]]]:
    """(moment, who owns it) at each change; never two."""
    steps: list[tuple[float, list[int]]] = []
    until = server.now + seconds
    while server.now < until:
        for node in nodes:
            node.step()
            owners = [number for number, it in enumerate(nodes) if it.owns]
            if not steps or steps[-1][1] != owners:
                steps.append((server.now, owners))
        server.now += 0.25
    return steps


def most(steps: list[tuple[float, list[int]]]) -> int:
    return max(len(owners) for _, owners in steps)


MOUNTS: list[dict[str, bool]] = [{}, {"nocto": True}, {"direct": False}]


@pytest.mark.parametrize("mount", MOUNTS)
def test_who_beats_keeps_it(mount: dict[str, bool]) -> None:
    server = Server()
    nodes = [Node(server, name, **mount) for name in "ab"]
    steps = run(server, nodes, 1000)
    assert [owners for _, owners in steps] == [[0]], "the other waits"


def test_a_beat_that_is_not_flushed_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was once: a pwrite, a fresh open, and 15 s of patience. This shows that the model bites."""
    monkeypatch.setattr(bid, "STALE", 15.0)
    server = Server()
    nodes = [Node(server, name, flushes=False, direct=False) for name in "ab"]
    nodes[0].client.close = lambda fd: None  # type: ignore[method-assign] # it kept its file open, and read that again
    assert most(run(server, nodes, 100)) == 2


@pytest.mark.parametrize("mount", MOUNTS)
def test_who_is_cut_off_stops_before_another_begins(mount: dict[str, bool]) -> None:
    """Also when the server answers again, and what was held back would be written."""
    server = Server()
    nodes = [Node(server, name, **mount) for name in "ab"]
    run(server, nodes, 30)
    nodes[0].client.cut = True
    steps = run(server, nodes, 300)
    assert most(steps) == 1
    lost, taken = nodes[0].lost_at, next(moment for moment, owners in steps if owners == [1])
    assert lost is not None and lost - 30 <= FENCE + BEAT and taken - 30 > STALE - BEAT
    nodes[0].client.cut = False
    assert most(run(server, nodes, 300)) == 1 and nodes[1].owns


def test_a_cut_that_is_short_is_no_loss() -> None:
    server = Server()
    nodes = [Node(server, name) for name in "ab"]
    run(server, nodes, 30)
    nodes[0].client.cut = True
    run(server, nodes, FENCE - 10)
    nodes[0].client.cut = False
    assert run(server, nodes, 300) == [(server.now - 300, [0])]


def test_who_slept_finds_it_taken() -> None:
    server = Server()
    nodes = [Node(server, name) for name in "ab"]
    run(server, nodes, 30)
    nodes[0].paused = True
    nodes[0].owns = False  # what it does in its sleep is nothing
    run(server, nodes, 300)
    assert nodes[1].owns
    assert not nodes[0].bid.confirm(), "before it publishes anything"
    assert not nodes[0].bid.beat(server.now) and nodes[1].bid.confirm()


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("left", ["nothing", "a dead owner's", "half a record", "nothing in it"])
def test_of_many_who_come_at_once_one_gets_it(mount: dict[str, bool], left: str) -> None:
    server = Server()
    if left != "nothing":
        dead = Node(server, "dead")
        dead.step()
        server.names[PATH].data = {"half a record": b'{"own', "nothing in it": b""}.get(left, server.names[PATH].data)
    nodes = [Node(server, str(number), **mount) for number in range(5)]
    steps = run(server, nodes, STALE - 5)
    assert most(steps) == (1 if left == "nothing" else 0)
    assert most(run(server, nodes, 300)) == 1


def test_the_next_of_this_node_follows_at_once() -> None:
    server = Server()
    first, second = Node(server, "a"), Node(server, "a")
    second.client = first.client
    second.bid = Bid(PATH, first.client, kernel="a")
    other = Node(server, "b")
    run(server, [first, second, other], 20)
    assert first.owns and not second.owns
    first.client.close(first.bid._fd)  # as the kernel does when it is killed
    steps = run(server, [second, other], 10)
    assert steps[-1][1] == [0] and steps[-1][0] < 23


def test_a_release_is_seen_at_once() -> None:
    server = Server()
    nodes = [Node(server, name) for name in "ab"]
    run(server, nodes, 30)
    nodes[0].bid.release()
    nodes[0].owns, nodes[0].paused = False, True
    assert PATH not in server.names
    steps = run(server, nodes, 5)
    assert steps[-1][1] == [1] and steps[-1][0] <= 31


def test_a_volume_that_fails_leaves_nothing_open() -> None:
    server = Server()
    node = Node(server, "a")
    run(server, [node], 1)
    other = Node(server, "b")
    other.client.cut = True
    with pytest.raises(OSError, match="timed out") as caught:
        other.bid.try_take(0)
    assert caught.value.errno == errno.ETIMEDOUT
    assert other.bid._fd == -1


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("mount", MOUNTS)
def test_on_a_full_volume_who_creates_it_has_it(mount: dict[str, bool]) -> None:
    server = Server()
    nodes = [Node(server, name, **mount) for name in "ab"]
    write = nodes[0].client.pwrite
    nodes[0].client.pwrite = full  # type: ignore[method-assign]
    assert [owners for _, owners in run(server, nodes, FENCE - 10)] == [[0]]
    nodes[0].client.pwrite = write  # type: ignore[method-assign] # there is room
    assert [owners for _, owners in run(server, nodes, 1000)] == [[0]]
    nodes[0].bid.release()
    assert PATH not in server.names


def test_on_a_volume_that_stays_full_its_owner_stops_before_another_begins() -> None:
    server = Server()
    nodes = [Node(server, name) for name in "ab"]
    nodes[0].client.pwrite = full  # type: ignore[method-assign]
    assert most(run(server, nodes, 300)) == 1 and nodes[1].owns
    nodes[0].bid.release()
    assert PATH in server.names, "another owner's lock is not removed"


def test_an_empty_one_that_was_left_on_a_full_volume_is_taken_over() -> None:
    server = Server()
    server.names[PATH] = Inode()
    nodes = [Node(server, "a"), Node(server, "a")]
    nodes[1].client = nodes[0].client
    nodes[1].bid = Bid(PATH, nodes[0].client, kernel="a")
    nodes[0].client.pwrite = full  # type: ignore[method-assign]
    steps = run(server, nodes, STALE + 10)
    assert most(steps) == 1 and steps[-1][1] in ([0], [1]), "flock keeps the other out"


def test_a_record_of_others_is_not_taken_over_without_room() -> None:
    server = Server()
    node = Node(server, "a")
    server.names[PATH] = Inode(b"{}")
    node.client.pwrite = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        run(server, [node], STALE + 10)


def test_without_a_folder_there_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        Bid(tmp_path / "not there" / "lock").try_take(0)


def test_real_files_are_read_past_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushed each time, and opened anew: with O_DIRECT where there is, else without."""
    monkeypatch.undo()
    flushed, opened = [], []
    fdatasync, open_ = os.fdatasync, os.open

    def count(fd: int) -> None:
        flushed.append(fd)
        fdatasync(fd)

    def note(path: Any, flags: int, *mode: int) -> int:
        opened.append(flags & os.O_DIRECT)
        return open_(path, flags, *mode)

    monkeypatch.setattr(os, "fdatasync", count)
    monkeypatch.setattr(os, "open", note)
    it = Bid(tmp_path / "lock")
    assert it.try_take(0) and it.beat(3) and it.confirm()
    assert len(flushed) == 2 and os.O_DIRECT in opened
    it.release()
    assert not any(tmp_path.iterdir())

"""The lock without flock, across kernels, and when it is taken away."""

from __future__ import annotations

import errno
import fcntl
import json
import threading
import time
from pathlib import Path

import pytest

from qwen3_download import bid
from qwen3_download.errors import Failure, Reason
from qwen3_download.lock import Lock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bid, "BEAT", 0.1)
    monkeypatch.setattr(bid, "STALE", 1.0)
    monkeypatch.setattr(bid, "SETTLE", 0.3)


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", flock)


def make(path: Path, stopped: threading.Event | None = None) -> Lock:
    return Lock(path, stopped or threading.Event(), lambda owner: None)


def others_record(path: Path, kernel: str = "another kernel", beats: int = 7) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"owner": "other", "host": "node-2", "pid": 1, "kernel": kernel, "beats": beats}))
    part.replace(path)


def test_held_and_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with make(path).held() as mine:
        assert mine and path.exists()
        with make(path).held(wait=False) as second:
            assert not second
    assert not path.exists()


def test_one_at_a_time_without_flock(tmp_path: Path, without_flock: None) -> None:
    path, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        with make(path).held():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.3)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] and not path.exists()


def test_dead_owner_of_this_kernel_is_followed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    others_record(path, bid.kernel_id())
    with make(path).held(wait=False) as mine:
        assert mine


def test_silent_owner_on_another_node_is_followed_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    others_record(path)
    begin = time.monotonic()
    with make(path).held():
        assert time.monotonic() - begin >= 1.0


def test_beating_owner_on_another_node_keeps_it(tmp_path: Path, without_flock: None) -> None:
    path, stopped = tmp_path / "lock", threading.Event()
    reported: list[str] = []
    waiting = Lock(path, stopped, reported.append)

    def beat() -> None:
        for number in range(20):
            others_record(path, beats=number)
            time.sleep(0.1)
        stopped.set()

    others_record(path)
    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(Failure) as caught, waiting.held():
        pass
    thread.join()
    assert caught.value.reason is Reason.STOPPED
    assert reported == ["node-2 (pid 1)"]


def test_owner_notices_that_it_lost_the_lock(tmp_path: Path) -> None:
    path, stopped = tmp_path / "lock", threading.Event()
    lock = make(path, stopped)
    with lock.held():
        others_record(path)
        assert stopped.wait(2) and lock.lost.is_set()
    assert path.exists(), "another owner's lock is not removed"

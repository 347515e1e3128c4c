"""`--remove` where there is no room, or nothing at all."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import bid
from qwen3_download.download import Options
from qwen3_download.errors import Failure, Reason
from qwen3_download.marker import FileRecord, Marker
from qwen3_download.progress import Progress
from qwen3_download.remove import remove

DATA = b"a" * 1000


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names can be made, bytes cannot."""

    def pwrite(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "volume" / "model"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(DATA)
    record = FileRecord(len(DATA), hashlib.sha256(DATA).hexdigest())
    Marker("a/b", "master", "a" * 40, {"a": record}).write(folder)
    return folder


def run(target: Path, stopped: threading.Event | None = None) -> int:
    """The bytes that became free."""
    options = Options(model="a/b", revision="master", endpoint="http://127.0.0.1:9", target=target)
    return int(remove(options, Progress(as_json=True), stopped or threading.Event())["bytes"])


def test_what_fills_the_volume_can_be_removed(target: Path, full: None) -> None:
    assert run(target) > len(DATA)
    assert not any(target.parent.iterdir())


def test_what_was_retired_makes_the_room_for_the_lock(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, with a lock that is not to be had while the volume is full."""
    removing = target.parent / ".model.removing"
    target.rename(removing)
    lock = target.parent / ".model.lock"
    lock.write_bytes(b"{}")
    pwrite = os.pwrite

    def refuses(*arguments: Any) -> int:
        assert not removing.exists(), "no room"
        return pwrite(*arguments)

    monkeypatch.setattr(os, "pwrite", refuses)
    monkeypatch.setattr(bid, "STALE", 0.3)
    monkeypatch.setattr(bid, "SETTLE", 0.1)
    assert run(target) > len(DATA)
    assert not any(target.parent.iterdir())


def test_a_lock_that_cannot_be_had_is_no_reason_for_a_larger_volume(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(_: bid.Bid) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bid.Bid, "_create", create)
    with pytest.raises(Failure, match=r"cannot remove .*: no space left") as failure:
        run(target)
    assert failure.value.reason is Reason.DISK_FULL and "larger" not in str(failure.value)


def test_below_a_folder_that_is_not_there_nothing_is_waited_for(tmp_path: Path) -> None:
    stopped = threading.Event()
    threading.Timer(3.0, stopped.set).start()
    with pytest.raises(Failure, match="does not exist") as failure:
        run(tmp_path / "not there" / "model", stopped)
    assert failure.value.reason is Reason.USAGE


def test_what_is_gone_already_is_fine(tmp_path: Path) -> None:
    assert run(tmp_path / "model") == 0 and not any(tmp_path.iterdir())

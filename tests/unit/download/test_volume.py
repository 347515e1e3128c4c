"""What the operating system says about a volume gets the name that a person, or the next try, can act on."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import download as download_module
from qwen3_download import marker
from qwen3_download.download import Download, Options
from qwen3_download.errors import EXIT_CODES, Failure, Reason
from qwen3_download.marker import FileRecord, Marker
from qwen3_download.progress import Progress
from qwen3_download.volume import disk_failure, fsync_folder, reading

PATH = Path("/models/.m.lock")


@pytest.mark.parametrize(
    ("number", "doing", "reason"),
    [
        (errno.ENOSPC, "write", Reason.DISK_FULL),
        (errno.EDQUOT, "write", Reason.DISK_FULL),
        (errno.EACCES, "write", Reason.VOLUME_NOT_WRITABLE),
        (errno.EROFS, "remove", Reason.VOLUME_NOT_WRITABLE),
        (errno.EACCES, "read", Reason.VOLUME_NOT_READABLE),
        (errno.EFBIG, "write", Reason.VOLUME_NOT_WRITABLE),
        (errno.ENAMETOOLONG, "write", Reason.VOLUME_NOT_WRITABLE),
        (errno.EIO, "read", Reason.VOLUME_ERROR),
        (errno.EIO, "write", Reason.VOLUME_ERROR),
        (errno.ESTALE, "write", Reason.VOLUME_ERROR),
        (errno.ETIMEDOUT, "write", Reason.VOLUME_ERROR),
        (errno.ENOTCONN, "read", Reason.VOLUME_ERROR),
    ],
)
def test_names(number: int, doing: str, reason: Reason) -> None:
    failure = disk_failure(OSError(number, os.strerror(number)), PATH, doing)
    assert failure.reason is reason and str(PATH) in str(failure)
    if reason is not Reason.DISK_FULL:
        assert f"cannot {doing} {PATH}: {os.strerror(number)}" in str(failure)


def test_what_passes_is_tried_again() -> None:
    assert EXIT_CODES[Reason.VOLUME_ERROR] == EXIT_CODES[Reason.HUB_UNAVAILABLE]


def test_the_file_of_the_error_is_named() -> None:
    with pytest.raises(Failure, match=r"/models/m/config\.json"), reading(PATH):
        raise OSError(errno.EIO, "Input/output error", "/models/m/config.json")


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_without_fsync_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, passes: bool
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        fsync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output"):
            fsync_folder(tmp_path)


def test_a_marker_that_cannot_be_read_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a complete copy would be called a folder of others."""
    assert marker.read(tmp_path) is None
    Marker("a/b", "master", "c", {}).write(tmp_path)
    assert marker.read(tmp_path) is not None

    def fails(path: Path, **_: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", fails)
    with pytest.raises(Failure) as caught:
        marker.read(tmp_path)
    assert caught.value.reason is Reason.VOLUME_NOT_READABLE


def of_a_file(path: str = "a", size: str = "1") -> str:
    record = f'{{"size": {size}, "sha256": ""}}'
    return f'{{"model": "a/b", "revision": "master", "commit": "c", "files": {{"{path}": {record}}}}}'


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "nonsense", '{"files": 3}', "[" * 100_000),
        *(of_a_file(size="Infinity"), of_a_file("../a"), of_a_file("a\\u0000b"), of_a_file("\\ud800")),
    ],
)
def test_a_marker_of_others(tmp_path: Path, content: str) -> None:
    (tmp_path / marker.NAME).write_text(content)
    assert marker.read(tmp_path) is None
    (tmp_path / marker.NAME).write_text(of_a_file())
    assert marker.read(tmp_path) is not None


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("a")
    Marker("a/b", "master", "c", {"a": FileRecord(1, "0" * 64)}).write(target)
    return target


def run(target: Path, stopped: threading.Event | None = None) -> dict[str, Any]:
    options = Options(model="a/b", revision="master", endpoint="http://127.0.0.1:9", target=target)
    return Download(options, Progress(as_json=True), stopped or threading.Event()).run()


def test_a_volume_that_fails_for_a_moment(
    complete: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download_module, "_VOLUME_WAITS", (0.0, 0.0))
    errors = [errno.ESTALE, errno.EIO]
    stat = Path.stat

    def fails(path: Path, **options: Any) -> os.stat_result:
        if path.name == "a" and errors:
            number = errors.pop()
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", fails)
    assert run(complete)["result"] == "Complete"
    reported = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in reported] == ["retry", "retry"]
    assert "cannot read" in reported[0]["message"] and str(complete / "a") in reported[0]["message"]


def test_a_volume_that_goes_on_failing(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_VOLUME_WAITS", (0.0, 0.0))

    def fails(path: Path, **_: Any) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "stat", fails)
    with pytest.raises(Failure) as caught:
        run(complete)
    assert (caught.value.reason, caught.value.exit_code) == (Reason.VOLUME_ERROR, 30)


def test_it_stops_while_it_waits_for_the_volume(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, **_: Any) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "stat", fails)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Failure) as caught:
        run(complete, stopped)
    assert caught.value.reason is Reason.STOPPED

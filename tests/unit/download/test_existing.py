"""Hashing what is there shows how far it is."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from qwen3_download import progress
from qwen3_download.errors import Failure, Reason
from qwen3_download.existing import wrong_files
from qwen3_download.marker import FileRecord

SIZE = 64 * 1024 * 1024


@pytest.fixture
def records(tmp_path: Path) -> dict[str, FileRecord]:
    """Two files of zeros that take no room, the second of which is listed as something else; a third is missing."""
    for name in ("a", "b"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(SIZE)
    zeros = hashlib.sha256(bytes(SIZE)).hexdigest()
    return {"a": FileRecord(SIZE, zeros), "b": FileRecord(SIZE, "f" * 64), "c": FileRecord(1, zeros)}


def test_progress_is_shown_and_only_grows(
    tmp_path: Path,
    records: dict[str, FileRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.005)
    assert wrong_files(tmp_path, records, progress.Progress(as_json=True), threading.Event()) == ["b", "c"]
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = [event["bytesDone"] for event in events]
    assert len(done) >= 2 and done == sorted(done) and done[-1] <= 2 * SIZE
    assert {(event["bytesTotal"], event["filesTotal"]) for event in events} == {(2 * SIZE + 1, 3)}


def test_it_stops_on_a_signal(tmp_path: Path, records: dict[str, FileRecord]) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Failure) as failure:
        wrong_files(tmp_path, records, progress.Progress(as_json=True), stopped)
    assert failure.value.reason is Reason.STOPPED

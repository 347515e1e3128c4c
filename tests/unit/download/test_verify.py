"""The hash of a file that arrives: in order, out of order, in parts that were there before."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from qwen3_download.listing import RemoteFile
from qwen3_download.partial import BLOCK, PartialFile, Reader
from qwen3_download.verify import Digest, Stopped

CONTENT = os.urandom(3 * BLOCK + 77)
PART = 1024 * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> PartialFile:
    made = PartialFile(RemoteFile("f", len(CONTENT), SHA256), tmp_path / "f", tmp_path / "f.state")
    made.make()
    return made


def write(file: PartialFile, start: int, end: int, digest: Digest | None = None) -> None:
    with file.writer(digest.feed) if digest else file.writer() as writer:
        for at in range(start, end, PART):
            writer.write(at, memoryview(CONTENT[at : min(end, at + PART)]))


def never() -> bool:
    return False


def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much is read back from the disk from now on."""
    amounts: list[int] = []
    read = Reader.read

    def counting(self: Reader, offset: int, into: memoryview) -> int:
        amounts.append(read(self, offset, into))
        return amounts[-1]

    monkeypatch.setattr(Reader, "read", counting)
    return amounts


def test_what_comes_in_order_is_not_read_back(file: PartialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = bytes_read(monkeypatch)
    digest = Digest(file)
    write(file, 0, len(CONTENT), digest)
    assert digest.finish(never) == SHA256 and amounts == []


def test_only_what_came_out_of_order_is_read_back(file: PartialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = bytes_read(monkeypatch)
    digest = Digest(file)
    write(file, BLOCK, 2 * BLOCK, digest)  # another connection was sooner
    write(file, 0, BLOCK, digest)
    write(file, 2 * BLOCK, len(CONTENT))  # and one in another process
    assert digest.finish(never) == SHA256 and sum(amounts) == len(CONTENT) - BLOCK


def test_what_was_there_is_read_and_the_rest_is_fed(file: PartialFile) -> None:
    write(file, 0, BLOCK)
    digest, found = Digest(file), []
    thread = threading.Thread(target=lambda: found.append(digest.finish(never)))
    thread.start()
    write(file, BLOCK, len(CONTENT), digest)
    thread.join()
    assert found == [SHA256]


def test_connections_side_by_side(file: PartialFile) -> None:
    digest = Digest(file)
    ranges = [(start, min(start + BLOCK, len(CONTENT))) for start in range(0, len(CONTENT), BLOCK)]
    threads = [threading.Thread(target=write, args=(file, *part, digest)) for part in ranges]
    for thread in threads:
        thread.start()
    assert digest.finish(never) == SHA256
    for thread in threads:
        thread.join()


def test_a_file_that_lost_bytes_has_no_hash(file: PartialFile) -> None:
    write(file, 0, len(CONTENT))
    os.truncate(file.data, BLOCK)
    assert Digest(file).finish(never) == ""


def test_stops(file: PartialFile) -> None:
    with pytest.raises(Stopped):
        Digest(file).finish(lambda: True)


def test_nothing_is_the_hash_of_nothing(tmp_path: Path) -> None:
    empty = PartialFile(RemoteFile("e", 0, "a" * 64), tmp_path / "e", tmp_path / "e.state")
    empty.make()
    assert Digest(empty).finish(never) == hashlib.sha256(b"").hexdigest()

"""Bytes on disk and the counters beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_download.errors import Failure
from qwen3_download.listing import RemoteFile
from qwen3_download.partial import BLOCK, PartialFile


def partial(folder: Path, size: int, sha256: str = "a" * 64) -> PartialFile:
    return PartialFile(RemoteFile("f", size, sha256), folder / "data" / "f", folder / "state" / "f")


def test_resumes_inside_a_block(tmp_path: Path) -> None:
    size = 2 * BLOCK + 100
    first = partial(tmp_path, size)
    assert first.missing() == [(0, size)]
    assert first.make()
    with first.writer() as writer:
        writer.write(0, memoryview(b"x" * 1000))
        writer.write(BLOCK, memoryview(b"y" * BLOCK))
    second = partial(tmp_path, size)
    assert second.missing() == [(1000, BLOCK), (2 * BLOCK, size)]
    assert second.bytes_present() == second.inherited == BLOCK + 1000


def test_writes_across_blocks_and_the_prefix(tmp_path: Path) -> None:
    size = 2 * BLOCK + 100
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        writer.write(BLOCK, memoryview(b"b" * BLOCK))
        assert file.present_from(0) == 0 and file.present_from(BLOCK) == 2 * BLOCK
        writer.write(0, memoryview(b"a" * BLOCK))
        assert file.present_from(0) == file.present_from(17) == 2 * BLOCK
        writer.write(2 * BLOCK, memoryview(b"c" * 100))
        assert file.present_from(2 * BLOCK) == size and file.missing() == []
        buffer = memoryview(bytearray(4))
        with file.reader() as reader:
            assert reader.read(BLOCK - 2, buffer) == 4 and bytes(buffer) == b"aabb"


@pytest.mark.parametrize("size", [0, 1, BLOCK])
def test_files_of_one_block_keep_no_state(tmp_path: Path, size: int) -> None:
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        if size:
            writer.write(0, memoryview(b"z" * size))
    assert not (tmp_path / "state").exists()
    assert partial(tmp_path, size).missing() == []


def test_state_of_other_content_is_not_believed(tmp_path: Path) -> None:
    size = 2 * BLOCK
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        writer.write(0, memoryview(b"x" * size))
    assert partial(tmp_path, size, sha256="b" * 64).missing() == [(0, size)]
    state = tmp_path / "state" / "f"
    state.write_bytes(state.read_bytes()[:-1])
    assert partial(tmp_path, size).missing() == [(0, size)], "a cut state file is not believed either"


def test_data_that_is_gone(tmp_path: Path) -> None:
    size = 2 * BLOCK
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        writer.write(0, memoryview(b"x" * size))
    (tmp_path / "data" / "f").unlink()
    assert partial(tmp_path, size).missing() == [(0, size)]


@pytest.mark.parametrize("size", [0, 10, BLOCK + 10])
def test_an_older_and_longer_file_leaves_nothing(tmp_path: Path, size: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_bytes(b"old" * BLOCK)
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        if size:
            writer.write(0, memoryview(b"n" * size))
    assert (tmp_path / "data" / "f").read_bytes() == b"n" * size


def test_reset(tmp_path: Path) -> None:
    size = BLOCK + 5
    file = partial(tmp_path, size)
    file.make()
    with file.writer() as writer:
        writer.write(0, memoryview(b"x" * size))
        file.reset()
        assert file.missing() == [(0, size)] and file.present_from(0) == 0
    assert partial(tmp_path, size).missing() == [(0, size)]


def test_made_once_and_written_by_many(tmp_path: Path) -> None:
    """A second connection must not put the counters back."""
    file = partial(tmp_path, 2 * BLOCK)
    assert file.make()
    with file.writer() as writer:
        writer.write(0, memoryview(b"x" * BLOCK))
        assert not file.make()
    assert partial(tmp_path, 2 * BLOCK).missing() == [(BLOCK, 2 * BLOCK)]


def test_what_is_not_made_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Failure), partial(tmp_path, 10).writer():
        pass

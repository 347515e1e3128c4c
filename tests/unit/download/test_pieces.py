"""Pieces: every byte once, sizes that suit the connections."""

from __future__ import annotations

from pathlib import Path

from qwen3_download.listing import RemoteFile
from qwen3_download.partial import BLOCK, PartialFile
from qwen3_download.pieces import AT_ONCE, IN_FLIGHT, PIECE_SECONDS, Pieces


def partial(folder: Path, size: int, name: str = "f") -> PartialFile:
    return PartialFile(RemoteFile(name, size, "a" * 64), folder / name, folder / f"{name}.state")


def test_every_byte_is_handed_out_once(tmp_path: Path) -> None:
    size = 100 * BLOCK + 17
    pieces = Pieces([partial(tmp_path, size)])
    at = 0
    while piece := pieces.take(16, 2.5 * BLOCK):
        assert piece.start == at and piece.end > piece.start
        assert piece.end % BLOCK == 0 or piece.end == size
        at = piece.end
    assert at == size and pieces.remaining() == 0


def test_pieces_follow_the_speed_and_shrink_at_the_end(tmp_path: Path) -> None:
    pieces = Pieces([partial(tmp_path, 1000 * BLOCK)])
    sizes = []
    while piece := pieces.take(8, BLOCK):
        sizes.append((piece.end - piece.start) // BLOCK)
    assert sizes[0] == PIECE_SECONDS
    assert sizes == sorted(sizes, reverse=True), "shorter towards the end, so that nobody waits long for the last"
    assert sizes[-1] <= 2


def test_first_pieces_are_short_while_the_speed_is_unknown(tmp_path: Path) -> None:
    pieces = Pieces([partial(tmp_path, 1000 * BLOCK)])
    first = pieces.take(2, 0)
    assert first and first.end - first.start == BLOCK


def test_pieces_that_are_out_are_bounded_in_bytes(tmp_path: Path) -> None:
    """Whatever the speed: what lies on the disk without being hashed must still be in memory."""
    pieces = Pieces([partial(tmp_path, 4000 * BLOCK)])
    out = [pieces.take(16, 1000 * BLOCK) for _ in range(16)]
    assert sum(piece.end - piece.start for piece in out if piece) == IN_FLIGHT


def test_one_connection_takes_a_fast_file_in_one_request(tmp_path: Path) -> None:
    pieces = Pieces([partial(tmp_path, 10 * BLOCK)])
    piece = pieces.take(1, 100 * BLOCK)
    assert piece and (piece.start, piece.end) == (0, 10 * BLOCK)


def test_connections_take_files_of_their_own_among_the_first(tmp_path: Path) -> None:
    files = [partial(tmp_path, 50 * BLOCK, f"f{n}") for n in range(AT_ONCE + 2)]
    pieces = Pieces(files)
    taken = [pieces.take(16, BLOCK) for _ in range(2 * AT_ONCE)]
    assert [files.index(piece.file) for piece in taken if piece] == 2 * list(range(AT_ONCE)), "and no further ones yet"
    assert taken[1]
    pieces.done(taken[1])
    freed = pieces.take(16, BLOCK)
    assert freed and freed.file is files[1] and freed.start == 2 * taken[1].end


def test_files_that_must_come_whole_have_one_piece_out(tmp_path: Path) -> None:
    file, other = partial(tmp_path, 50 * BLOCK, "a"), partial(tmp_path, BLOCK, "b")
    pieces = Pieces([file, other])
    pieces.ignores_ranges(file)
    whole = pieces.take(16, BLOCK)
    assert whole and whole.whole and (whole.start, whole.end) == (0, 50 * BLOCK)
    next_one = pieces.take(16, BLOCK)
    assert next_one and next_one.file is other
    assert pieces.busy()
    pieces.done(whole)
    pieces.done(next_one)
    assert not pieces.busy()

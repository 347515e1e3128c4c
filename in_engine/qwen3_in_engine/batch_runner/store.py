"""The output volume: who owns the output, what is finished on it, and how the parts become one file.

Beside the output `answers.jsonl` stands the folder `.answers.jsonl.parts`:
    owner.json        the Qwen3Batch, and the input and settings that its answers belong to
    shard-00000       finished lines of a shard, in the order in which they finished: INDEX <tab> JSON
    shard-00000.asked see ledger.py
    shard-00000.done  written when the shard has them all: its counts
    partial.json      the output in place is not whole: what was finished when the batch was given up
The last shard to finish writes the lines of all parts in the order of the input and renames the result into place. A
batch that is given up is delivered in the same way, with an error line for each line that is not finished; its parts
stay, and the batch may be made again and go on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from qwen3_in_engine.batch_runner.contract import AGAIN, BAD_OUTPUT, Config, Stop
from qwen3_in_engine.batch_runner.source import Summary
from qwen3_in_engine.batch_runner.volume import stop_of

_NOWHERE = (1 << 64) - 1


@contextlib.contextmanager
def volume_errors(path: Path) -> Iterator[None]:
    """Turn the file system's refusals into a Stop that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason, words = ("OutputFull", "is full") if full else ("OutputNotWritable", "cannot be written")
        what = f"the output {path}"
        raise stop_of(error, what, BAD_OUTPUT, reason, f"the volume of {what} {words}") from error


class Store:
    """The output of one Qwen3Batch, as one of its shards sees it."""

    def __init__(self, config: Config, shard: int) -> None:
        self.config, self.shard = config, shard
        self.output = Path(config.output)
        self.folder = self.output.parent / f".{self.output.name}.parts"
        self._part: BinaryIO | None = None

    def check_owner(self) -> None:
        """Raises Stop where the output is seen to be somebody else's before the input is read."""
        owner = self.folder / "owner.json"
        with volume_errors(self.output):
            if not self.folder.exists() and self.output.exists():
                raise Stop(BAD_OUTPUT, "OutputExists", f"{self.output} exists already: move it, or name another path")
            self.folder.mkdir(parents=True, exist_ok=True)
            if owner.exists():
                self._compare(_read_json(owner), self._ours())

    def claim(self, summary: Summary) -> None:
        """Make the output this batch's, or see that it is. Raises Stop where it is somebody else's."""
        ours = self._ours() | {"input": {"sha256": summary.sha256, "lines": summary.lines}}
        self.check_owner()
        with volume_errors(self.output):
            owner, mine = self.folder / "owner.json", self.folder / f"owner-{self.shard}"
            if not owner.exists():
                _write_whole(mine, json.dumps(ours).encode())
                # A link never replaces what another batch wrote meanwhile, and is never half there.
                try:
                    owner.hardlink_to(mine)
                except OSError:
                    if not owner.exists():  # a file system without links
                        mine.replace(owner)
                mine.unlink(missing_ok=True)
            self._compare(_read_json(owner), ours)

    def _ours(self) -> dict[str, Any]:
        return {
            "namespace": self.config.namespace,
            "name": self.config.name,
            "fingerprint": self.config.fingerprint,
            "shards": self.config.shards,
        }

    def _compare(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        def differ(*keys: str) -> bool:
            return any(key in ours and theirs.get(key) != ours[key] for key in keys)

        if differ("namespace", "name"):
            whose = f"Qwen3Batch {theirs.get('namespace')}/{theirs.get('name')}"
            raise Stop(BAD_OUTPUT, "OutputInUse", f"{self.output} is the output of {whose}: name another path")
        if differ("input"):
            words = "the input changed since this batch began: answers of both would be mixed"
            raise Stop(BAD_OUTPUT, "InputChanged", f"{words}. Name another output, or remove {self.folder}")
        if differ("fingerprint", "shards"):
            words = "answers made with another model, sampling or number of completions are there"
            raise Stop(BAD_OUTPUT, "OutputOfOtherSettings", f"{words}: name another output, or remove {self.folder}")

    @property
    def merged(self) -> bool:
        """Whether the output is in place, with the answers of all shards."""
        return self.output.exists() and not self._partial.exists()

    @property
    def _partial(self) -> Path:
        return self.folder / "partial.json"

    @property
    def ledger(self) -> Path:
        """Path of the shard's ledger."""
        return self._path(self.shard, ".asked")

    def open_part(self, seen: Callable[[int, dict[str, Any]], None]) -> None:
        """Open this shard's part for writing, after showing its lines to `seen`; one that was cut off is dropped.

        Raises Stop while another process writes to it.
        """
        path = self._path(self.shard)
        with volume_errors(self.output):
            part = path.open("a+b")
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Stop(AGAIN, "ShardInUse", f"another pod writes to {path}") from None
            except OSError:
                pass  # a file system without locks: podReplacementPolicy keeps pods apart
            part.seek(0)
            end = 0
            for line in part:
                record = _record(line, self.shard, self.config.shards)
                if record is None:
                    break
                seen(*record)
                end += len(line)
            part.truncate(end)
            part.seek(end)
        self._part = part

    def append(self, records: list[tuple[int, str]]) -> None:
        """Write (index, JSON) of finished lines; they are on the volume when this returns."""
        assert self._part is not None
        with volume_errors(self.output):
            self._part.write(b"".join(f"{index}\t{text}\n".encode() for index, text in records))
            self._part.flush()
            _sync(self._part.fileno())

    def done(self, counts: dict[str, Any]) -> None:
        """Say that this shard has all its lines."""
        with volume_errors(self.output):
            _write_whole(self._path(self.shard, ".done"), json.dumps(counts).encode())

    def merge_if_last(self, lines: int) -> bool:
        """Write the output where all shards are done. False where some are not, or the output is in place."""
        with volume_errors(self.output):
            shards = range(self.config.shards)
            if self.merged or not all(self._path(shard, ".done").exists() for shard in shards):
                return False
            try:
                self._merge(lines, _nothing_is_missing)
            except FileNotFoundError:
                return False  # the other was quicker
            self._partial.unlink(missing_ok=True)
            return True

    def deliver(self, lines: int, missing: Callable[[int], str]) -> None:
        """Write the output from what is finished, and `missing` of each index that is not. The parts stay."""
        with volume_errors(self.output):
            _write_whole(self._partial, json.dumps({"lines": lines}).encode())
            self._merge(lines, missing)

    def _merge(self, lines: int, missing: Callable[[int], str]) -> None:
        shards = range(self.config.shards)
        whole = self.folder / f"whole-{self.shard}"  # two that finish together write the same, each its own file
        with contextlib.ExitStack() as opened:
            parts: list[BinaryIO] = [opened.enter_context(self._part_of(shard, missing)) for shard in shards]
            offsets = [_offsets(part, shard, len(shards), lines) for shard, part in enumerate(parts)]
            with whole.open("wb") as file:
                for index in range(lines):
                    shard, position = index % len(shards), index // len(shards)
                    if (offset := offsets[shard][position]) == _NOWHERE:
                        file.write(f"{missing(index)}\n".encode())
                    else:
                        parts[shard].seek(offset)
                        file.write(parts[shard].readline().partition(b"\t")[2])
                file.flush()
                _sync(file.fileno())
        whole.replace(self.output)
        _sync_folder(self.output.parent)

    def _part_of(self, shard: int, missing: Callable[[int], str]) -> BinaryIO:
        path = self._path(shard)
        if missing is not _nothing_is_missing and not path.exists():
            return io.BytesIO()
        return path.open("rb")

    def remove_parts(self) -> None:
        """Once the output is in place the parts are only its copy; owner.json and the counts stay."""
        for shard in range(self.config.shards):
            for ending in ("", ".asked"):
                self._path(shard, ending).unlink(missing_ok=True)

    def counts(self) -> dict[str, Any] | None:
        """What `done` said of this shard."""
        path = self._path(self.shard, ".done")
        return _read_json(path) if path.exists() else None

    def _path(self, shard: int, ending: str = "") -> Path:
        return self.folder / f"shard-{shard:05}{ending}"


def _record(line: bytes, shard: int, shards: int) -> tuple[int, dict[str, Any]] | None:
    """A line of a part; None for one that was cut off or is damaged."""
    index, tab, text = line.partition(b"\t")
    if not line.endswith(b"\n") or not tab or not index.isdigit() or int(index) % shards != shard:
        return None
    try:
        return int(index), json.loads(text)
    except ValueError:
        return None


def _nothing_is_missing(index: int) -> str:
    raise Stop(AGAIN, "PartIncomplete", f"line {index + 1} is not there although its shard is done")


def _offsets(part: BinaryIO, shard: int, shards: int, lines: int) -> array[int]:
    """Where the record of each of the shard's lines begins; _NOWHERE where there is none."""
    result = array("Q", [_NOWHERE]) * len(range(shard, lines, shards))
    offset = 0
    for line in part:
        index = line.partition(b"\t")[0]
        if line.endswith(b"\n") and index.isdigit() and int(index) < lines:  # not one that was cut off
            result[int(index) // shards] = offset
        offset += len(line)
    return result


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _write_whole(path: Path, content: bytes) -> None:
    staging = path.with_name(f"{path.name}.tmp")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        _sync(file.fileno())
    staging.replace(path)
    _sync_folder(path.parent)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot; the rename itself is atomic
    finally:
        os.close(descriptor)

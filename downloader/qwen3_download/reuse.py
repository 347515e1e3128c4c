"""Files that another complete folder on the volume has already: linked (copied where links do not work), not fetched.

A new revision of a model mostly changes a README or a chat template. What is kept is verified like what is fetched; it
never gets into the hands of the transfer, which would write into the file that the other folder is served from.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from qwen3_download import marker
from qwen3_download.errors import Failure, Reason
from qwen3_download.existing import wrong_files
from qwen3_download.listing import RemoteFile
from qwen3_download.marker import FileRecord
from qwen3_download.partial import PartialFile
from qwen3_download.progress import Progress, human
from qwen3_download.staging import Staging
from qwen3_download.volume import reading

_MOST_FOLDERS = 64
_PIECE = 8 * 1024 * 1024

_Offers = Mapping[FileRecord, Sequence[Path]]
"""Where files of this size and sha256 are said to lie."""


def take(
    staging: Staging, wanted: Sequence[RemoteFile], progress: Progress, stopped: threading.Event
) -> list[PartialFile]:
    """Take into `staging.whole` what other folders have of `wanted`, and is right; returns what is to be fetched.

    Raises Failure: DiskFull where there is no room for that, Stopped.
    """
    offers = _offers_beside(staging.target)
    _take_each(wanted, offers, staging.whole, lambda source, place: os.link(source, place, follow_symlinks=False))
    linked = [f for f in wanted if (staging.whole / f.path).exists()]
    wrong = _remove_wrong(staging, linked, wanted, progress, stopped)
    parts = staging.parts([f for f in wanted if f not in linked or f.path in wrong])
    staging.check_space(parts)
    copies = [p.remote for p in parts if p.remote not in linked and not p.inherited and _record(p.remote) in offers]
    _take_each(copies, offers, staging.whole, lambda source, place: _copy(source, staging.copy, place, stopped))
    wrong |= _remove_wrong(staging, copies, wanted, progress, stopped)
    kept = [f for f in (*linked, *copies) if f.path not in wrong]
    if kept:
        size = sum(f.size for f in kept)
        text = f"{len(kept)} of {len(wanted)} files, {human(size)}, are on the volume already: they are kept"
        progress.event("kept", text, files=len(kept), bytes=size)
    return [p for p in parts if p.remote not in kept]


def lacking(staging: Staging, wanted: Sequence[RemoteFile]) -> list[PartialFile]:
    """What `take` would leave to be fetched, if what the markers beside it say is right."""
    offers = _offers_beside(staging.target)
    return staging.parts([f for f in wanted if _record(f) not in offers])


def _offers_beside(target: Path) -> _Offers:
    """What the markers beside `target` say; of very many folders the newest."""
    found: dict[FileRecord, list[Path]] = {}
    for folder in _folders_beside(target):
        with contextlib.suppress(Failure):  # not ours to read
            done = marker.read(folder)
            for path, record in done.files.items() if done else ():
                found.setdefault(record, []).append(folder / path)
    return found


def _folders_beside(target: Path) -> list[Path]:
    with reading(target.parent), os.scandir(target.parent) as entries:
        beside = [e for e in entries if not e.name.startswith(".") and e.name != target.name]
        folders = [e for e in beside if e.is_dir(follow_symlinks=False)]
    by_age = sorted(folders, key=lambda e: (-e.stat(follow_symlinks=False).st_mtime, e.name))
    return [Path(e.path) for e in by_age[:_MOST_FOLDERS]]


def _take_each(
    wanted: Iterable[RemoteFile], offers: _Offers, whole: Path, take_one: Callable[[Path, Path], None]
) -> None:
    """Best effort: what cannot be linked is copied, what cannot be copied is fetched."""
    for file in wanted:
        place = whole / file.path
        for source in offers.get(_record(file), ()):
            with contextlib.suppress(OSError):
                if place.exists() or not _is_file(source):
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                take_one(source, place)


def _copy(source: Path, between: Path, place: Path, stopped: threading.Event) -> None:
    """By way of one file, so that nothing in `whole` is half a file. Raises Failure(Stopped), OSError."""
    with source.open("rb", buffering=0) as reader, between.open("wb") as writer:
        while data := reader.read(_PIECE):
            if stopped.is_set():
                raise Failure(Reason.STOPPED, "stopped while copying what the volume has already")
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    between.replace(place)


def _remove_wrong(
    staging: Staging,
    files: Sequence[RemoteFile],
    wanted: Sequence[RemoteFile],
    progress: Progress,
    stopped: threading.Event,
) -> set[str]:
    """Hash `files` in `staging.whole`, and remove those that are not right. Returns their paths."""
    if not files:
        return set()
    records = {f.path: _record(f) for f in files}
    among = {f.path: _record(f) for f in wanted}
    wrong = set(wrong_files(staging.whole, records, progress, stopped, among=among, readable=False))
    for path in wrong:
        (staging.whole / path).unlink(missing_ok=True)
    return wrong


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and os.access(path, os.R_OK)


def _record(file: RemoteFile) -> FileRecord:
    return FileRecord(file.size, file.sha256)

"""Weights that are already there: checked against the best witness at hand, and never written to.

The hub's listing when the hub answers and knows the model; else the folder's own completion marker; else its structure.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qwen3_download import marker
from qwen3_download.errors import PASSING, Failure, Reason
from qwen3_download.hub import Hub
from qwen3_download.listing import COMMIT, is_loaded, select
from qwen3_download.marker import FileRecord, Marker
from qwen3_download.progress import Progress, Snapshot
from qwen3_download.reading import read_json
from qwen3_download.resolve import resolve_once
from qwen3_download.structure import check_files, check_folder
from qwen3_download.tensors import INDEX, loaded_files
from qwen3_download.volume import reading

_READ = 1024 * 1024
_AT_ONCE = 4
"""Files that are hashed at the same time: a core does some 1.3 GB/s."""
_NO_WITNESS = PASSING | {Reason.MODEL_NOT_FOUND, Reason.UNAUTHORIZED}


def check(
    folder: Path,
    hub: Hub,
    revision: str,
    allow: Sequence[str],
    ignore: Sequence[str],
    progress: Progress,
    stopped: threading.Event,
) -> tuple[Marker, str]:
    """What the folder holds, and the witness: `hub`, `marker` or `structure`.

    Raises Failure: InvalidRepository, IntegrityError, RevisionNotFound, Stopped.
    """
    if not folder.is_dir():
        raise Failure(Reason.INVALID_REPOSITORY, f"there is no folder {folder} on the volume")
    done = marker.read(folder)
    # The commit that the folder was made from: a branch may have moved on since.
    pinned = done.commit if done and done.names(hub.model, revision) and COMMIT.fullmatch(done.commit) else revision
    try:
        listing = resolve_once(hub, pinned, stopped)
    except Failure as failure:
        gone = failure.reason is Reason.REVISION_NOT_FOUND and pinned != revision
        if failure.reason not in _NO_WITNESS and not gone:
            raise
    else:
        records = {f.path: FileRecord(f.size, f.sha256) for f in select(listing.files, allow, ignore)}
        _compare(folder, records, f"the listing of {hub.endpoint}", progress, stopped)
        _check(folder, records, {f.path for f in listing.files})
        return Marker(hub.model, revision, listing.commit, records), "hub"
    if done:
        if not done.names(hub.model, revision):
            raise Failure(Reason.INVALID_REPOSITORY, f"{folder} holds {done.model} at {done.revision}")
        _compare(folder, done.files, "its completion marker", progress, stopped)
        _check(folder, done.files, done.files)
        return done, "marker"
    sizes = {name: FileRecord((folder / name).stat().st_size, "") for name in check_folder(folder)}
    return Marker(hub.model, revision, "", sizes), "structure"


def _check(folder: Path, records: Mapping[str, FileRecord], known: Collection[str]) -> None:
    """That the files are a checkpoint at all, and that vLLM would load no others. `known`: all that the witness has."""
    present = [name for name in records if (folder / name).is_file()]
    check_files(present, lambda name: folder / name)
    with reading(folder), os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    strange = [n for n in loaded_files(names, read_json(folder / INDEX)) if n not in known]
    if strange:
        words = f"{folder} has weights that vLLM would load and the model does not have: {', '.join(strange[:3])}"
        raise Failure(Reason.INTEGRITY, f"{words}. Move them away")


def _decides(name: str) -> bool:
    return is_loaded(name) or name.endswith(".index.json") or name.startswith(("tokenizer.", "vocab.", "merges."))


def sha256_of(path: Path, read: Callable[[int], None], stopped: threading.Event) -> str:
    """64 hex digits; `read` is called with the number of bytes of each read. Raises Failure(Stopped), or OSError."""
    value = hashlib.sha256()
    buffer = memoryview(bytearray(_READ))
    with path.open("rb", buffering=0) as stream:
        while n := stream.readinto(buffer):
            value.update(buffer[:n])
            read(n)
            if stopped.is_set():
                raise Failure(Reason.STOPPED, "stopped while hashing what is there")
    return value.hexdigest()


def wrong_files(
    folder: Path,
    records: Mapping[str, FileRecord],
    progress: Progress,
    stopped: threading.Event,
    *,
    among: Mapping[str, FileRecord] | None = None,
    readable: bool = True,
) -> list[str]:
    """Files that are missing, or differ by size or sha256, in order.

    The progress is shown as one of all `among` which they are. Raises Failure where a file cannot be read; if it need
    not be `readable`, that is wrong too.
    """
    hashed = dict.fromkeys(records, 0)  # bytes by file: each has one thread, a common sum would lose some
    ended: list[str] = []
    shown = records if among is None else among
    total = sum(record.size for record in shown.values())

    def is_right(item: tuple[str, FileRecord]) -> bool:
        name, record = item

        def count(n: int) -> None:
            hashed[name] += n

        path = folder / name
        try:
            with reading(path, missing=True):
                return path.stat().st_size == record.size and sha256_of(path, count, stopped) == record.sha256
        except FileNotFoundError:
            return False
        except Failure as failure:
            if readable or failure.reason is Reason.STOPPED:
                raise
            return False
        finally:
            ended.append(name)

    def snapshot() -> Snapshot:
        return Snapshot(sum(hashed.values()), total, len(ended), len(shown))

    with ThreadPoolExecutor(_AT_ONCE, "check") as pool, progress.following(snapshot):
        return [path for path, right in zip(records, pool.map(is_right, records.items()), strict=True) if not right]


def _compare(
    folder: Path, records: Mapping[str, FileRecord], witness: str, progress: Progress, stopped: threading.Event
) -> None:
    """What decides must be as the witness says: weights and tokenizer. The rest is the owner's: a README of another
    hub, a config.json with YaRN written into it, as the model cards advise; what it says now is what is read."""
    wrong = wrong_files(folder, records, progress, stopped)
    if other := [name for name in wrong if not _decides(name)]:
        text = f"{len(other)} of {len(records)} files differ from {witness}, and are served as they are: "
        text += ", ".join(other[:8])
        progress.event("differs", text, files=len(other), message=text)
    wrong = [name for name in wrong if _decides(name)]
    if "config.json" in records and not (folder / "config.json").is_file():
        wrong.append("config.json")
    if wrong:
        shown = ", ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        text = f"{len(wrong)} of {len(records)} files in {folder} differ from {witness}: {shown}"
        raise Failure(Reason.INTEGRITY, text)

"""What lies beside the target: `.NAME.partial/`, in which it grows, and `.NAME.removing/`, which is on its way out.

Of the first, `files/` and `state/` are what is being fetched, `whole/` files that are complete and not written to any
more (other folders may share them), `plan.json` what it is for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qwen3_download import marker
from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import RemoteFile
from qwen3_download.marker import Marker
from qwen3_download.partial import PartialFile
from qwen3_download.paths import is_safe
from qwen3_download.progress import human
from qwen3_download.volume import disk_failure, fsync_folder, named, reading

MARGIN = 16 * 1024 * 1024  # bytes left free: state files, folders, the marker


@dataclass(frozen=True)
class Plan:
    """What the staging folder is for; kept so that every try downloads the same commit."""

    model: str
    revision: str
    commit: str
    repairs: bool = False  # the target was complete once, and loses its marker while its files are replaced
    ours: tuple[str, ...] = ()  # in a target to repair, files of its commit, and of those that repairs began with

    def names(self, model: str, revision: str) -> bool:
        """Whether this plan is for the asked model at the asked branch, tag or commit."""
        return self.model == model and revision in (self.revision, self.commit)


class Staging:
    """Everything this program writes for one target, but for the target itself."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.root = target.parent / f".{target.name}.partial"
        self.files = self.root / "files"
        self.whole = self.root / "whole"
        self.copy = self.root / "copy"  # what will be the next file of it
        self.removing = target.parent / f".{target.name}.removing"
        self._state = self.root / "state"

    def is_there(self) -> bool:
        """Whether an earlier run left something."""
        return self.root.exists() or self.removing.exists()

    def plan(self) -> Plan | None:
        """The plan of an earlier try. Raises Failure where it is not known whether there is one."""
        path = self.root / "plan.json"
        try:
            with reading(path, missing=True):
                data = json.loads(path.read_text(encoding="utf-8"))
            words = (str(data["model"]), str(data["revision"]), str(data["commit"]))
            return Plan(*words, bool(data.get("repairs")), tuple(filter(is_safe, map(str, data.get("ours", ())))))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def begin(self, plan: Plan, files: Sequence[RemoteFile]) -> None:
        """Make the folders; keep what is of use from an earlier try, remove the rest. Raises Failure."""
        wanted = {f.path for f in files}
        try:
            for folder in (self.files, self._state, self.whole):
                folder.mkdir(parents=True, exist_ok=True)
            _prune(self.files, wanted)
            _prune(self._state, {f"{path}.blocks" for path in wanted})
            _prune(self.whole, wanted)
            part = self.root / "plan.json.tmp"
            part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
            part.replace(self.root / "plan.json")
        except OSError as error:
            raise disk_failure(error, named(error, self.root)) from error

    def parts(self, files: Sequence[RemoteFile]) -> list[PartialFile]:
        """What is to be fetched, with what is there of it."""
        return [PartialFile(f, self.files / f.path, self._state / f"{f.path}.blocks") for f in files]

    def check_space(self, files: Sequence[PartialFile]) -> None:
        """Raises Failure(DiskFull) when the missing bytes do not fit; its fact `volumeBytes` would be enough."""
        missing = sum(f.size - f.bytes_present() for f in files)
        usage = shutil.disk_usage(self.target.parent)
        free = usage.free
        if missing + MARGIN > free:
            total = sum(f.size for f in files)
            raise Failure(
                Reason.DISK_FULL,
                f"{human(missing)} are still to be downloaded of {human(total)}, but the volume of {self.target} has "
                f"{human(free)} free: make it at least {human(missing + MARGIN - free)} larger",
                volumeBytes=usage.total - free + missing + MARGIN,
                fileSystemBytes=usage.total,
            )

    def publish(self, done: Marker) -> None:
        """Make the target by one rename, or repair it file by file. Durable when it returns."""
        try:
            _move(self.files, self.whole)  # not the other way: what is killed here must not write to shared files
            if self.target.is_dir():
                self._repair(done)
            else:
                done.write(self.whole)
                _sync_folders(self.whole)
                self.whole.rename(self.target)
            fsync_folder(self.target.parent)
        except OSError as error:
            raise disk_failure(error, named(error, self.target)) from error
        self.remove()

    def place(self, path: str) -> Path:
        """Where a verified file lies before it is published: a repaired target has most of them already."""
        return next((at for at in (self.whole / path, self.files / path) if at.exists()), self.target / path)

    def remove(self) -> None:
        """Remove the staging folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def retire(self) -> None:
        """Take the target away by one rename; `free` does the rest, now or in a later run."""
        self.target.rename(self.removing)
        fsync_folder(self.target.parent)

    def free(self, stopped: threading.Event) -> int:
        """Remove what was retired; returns the bytes that became free. Raises Failure(Stopped), or OSError."""
        freed = 0
        for folder, folders, names in os.walk(self.removing, topdown=False, onerror=_raise):
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*links, *names):
                if stopped.is_set():
                    raise Failure(Reason.STOPPED, f"stopped while removing {self.target}; the next run goes on")
                freed += _unlink(Path(folder, name))
            _remove_folder(Path(folder))
        return freed

    def _repair(self, done: Marker) -> None:
        """What another commit had goes: vLLM would load its weights too, or by its index the wrong ones."""
        plan = self.plan()
        (self.target / marker.NAME).unlink(missing_ok=True)
        for path in set(plan.ours if plan else ()) - set(done.files):
            self._remove_from_target(path)
        _move(self.whole, self.target)
        _sync_folders(self.target)
        done.write(self.target)

    def _remove_from_target(self, path: str) -> None:
        """With the folders that are empty then: the name of one may be that of a file now."""
        place = self.target / path
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            place.unlink()
        with contextlib.suppress(OSError):  # not empty
            for folder in place.relative_to(self.target).parents[:-1]:
                (self.target / folder).rmdir()


def _move(source: Path, target: Path) -> None:
    """Move every file from one folder into another, over what is there."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _unlink(path: Path) -> int:
    """The bytes that nobody has any more."""
    try:
        state = path.lstat()
        path.unlink()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EBUSY):  # gone by itself; or NFS's name for what a pod has open
            return 0
        raise
    return state.st_size if state.st_nlink == 1 else 0


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno == errno.ENOENT:  # another process removes it as well
            return
        if error.errno != errno.ENOTEMPTY:
            raise
        words = f"files in {folder} are still open in a pod: what is left of it goes when they are closed"
        raise Failure(Reason.VOLUME_ERROR, words) from error


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _prune(folder: Path, wanted: set[str]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in wanted:
            path.unlink()


def _sync_folders(root: Path) -> None:
    for path, _, _ in os.walk(root):
        fsync_folder(Path(path))

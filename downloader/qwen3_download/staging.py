"""The folder beside the target in which it grows: `.NAME.partial/{files,state}/` and `plan.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qwen3_download import marker
from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import RemoteFile
from qwen3_download.marker import Marker, fsync_folder
from qwen3_download.partial import PartialFile, disk_failure
from qwen3_download.progress import human

MARGIN = 16 * 1024 * 1024  # bytes left free: state files, folders, the marker


@dataclass(frozen=True)
class Plan:
    """What the staging folder is for; kept so that every try downloads the same commit."""

    model: str
    revision: str
    commit: str
    repairs: bool = False  # the target was complete once, and loses its marker while its files are replaced

    def names(self, model: str, revision: str) -> bool:
        """Whether this plan is for the asked model at the asked branch, tag or commit."""
        return self.model == model and revision in (self.revision, self.commit)


class Staging:
    """Everything this program writes for one target, but for the target itself."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.root = target.parent / f".{target.name}.partial"
        self.files = self.root / "files"
        self._state = self.root / "state"

    def plan(self) -> Plan | None:
        """The plan of an earlier try."""
        try:
            data = json.loads((self.root / "plan.json").read_text(encoding="utf-8"))
            return Plan(str(data["model"]), str(data["revision"]), str(data["commit"]), bool(data.get("repairs")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def prepare(self, plan: Plan, files: Sequence[RemoteFile]) -> list[PartialFile]:
        """Keep what is of use from an earlier try, remove the rest. Raises Failure(DiskFull)."""
        try:
            self.files.mkdir(parents=True, exist_ok=True)
            self._state.mkdir(exist_ok=True)
            _prune(self.files, {f.path for f in files})
            _prune(self._state, {f"{f.path}.blocks" for f in files})
            part = self.root / "plan.json.tmp"
            part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
            part.replace(self.root / "plan.json")
        except OSError as error:
            raise disk_failure(error, self.root) from error
        return [PartialFile(f, self.files / f.path, self._state / f"{f.path}.blocks") for f in files]

    def check_space(self, files: Sequence[PartialFile]) -> None:
        """Raises Failure(DiskFull) when the missing bytes do not fit; its fact `volumeBytes` would be enough."""
        missing = sum(f.size - f.bytes_present() for f in files)
        usage = shutil.disk_usage(self.root)
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
            if self.target.is_dir():
                self._repair(done)
            else:
                done.write(self.files)
                _sync_folders(self.files)
                self.files.rename(self.target)
            fsync_folder(self.target.parent)
        except OSError as error:
            raise disk_failure(error, self.target) from error
        self.remove()

    def place(self, path: str) -> Path:
        """Where a verified file lies before it is published: a repaired target has most of them already."""
        staged = self.files / path
        return staged if staged.exists() else self.target / path

    def remove(self) -> None:
        """Remove the staging folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _repair(self, done: Marker) -> None:
        (self.target / marker.NAME).unlink(missing_ok=True)
        for source in sorted(p for p in self.files.rglob("*") if p.is_file()):
            place = self.target / source.relative_to(self.files)
            place.parent.mkdir(parents=True, exist_ok=True)
            source.replace(place)
        _sync_folders(self.target)
        done.write(self.target)


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

"""The completion marker `.complete.json`: what a finished folder holds. Reading it needs no network."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

NAME = ".complete.json"


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 (64 hex digits) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Marker:
    """The content of `.complete.json`."""

    model: str
    revision: str
    commit: str
    files: dict[str, FileRecord]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files.values())

    def names(self, model: str, revision: str) -> bool:
        """Whether this is the asked model at the asked branch, tag or commit."""
        return self.model == model and revision in (self.revision, self.commit)

    def wrong_sizes(self, folder: Path) -> list[str]:
        """Files that are missing in `folder` or have another size."""
        return [path for path, record in self.files.items() if _size(folder / path) != record.size]

    def write(self, folder: Path) -> None:
        """Write `.complete.json` so that it is there whole or not at all, even after a power cut."""
        data = {
            "model": self.model,
            "revision": self.revision,
            "commit": self.commit,
            "files": {path: {"size": f.size, "sha256": f.sha256} for path, f in sorted(self.files.items())},
        }
        part = folder / f"{NAME}.tmp"
        with part.open("w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / NAME)
        fsync_folder(folder)


def read(folder: Path) -> Marker | None:
    """The marker of `folder`; None where there is none that can be read."""
    try:
        data = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files = {path: FileRecord(int(f["size"]), str(f["sha256"])) for path, f in data["files"].items()}
        return Marker(str(data["model"]), str(data["revision"]), str(data["commit"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1

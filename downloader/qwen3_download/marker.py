"""The completion marker `.complete.json`: what a finished folder holds. Reading it needs no network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qwen3_download.paths import is_safe
from qwen3_download.volume import fsync_folder, reading

NAME = ".complete.json"
_LARGEST = 64 * 1024 * 1024
"""Bytes; what a folder of others has there may be anything."""


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 (64 hex digits) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Patterns:
    """Which files of the listing were asked for, in the user's words."""

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, allow: Iterable[str], ignore: Iterable[str]) -> Patterns:
        """The order in which they are given does not count."""
        return cls(tuple(sorted(set(allow))), tuple(sorted(set(ignore))))

    def __str__(self) -> str:
        given = [("--allow", self.allow), ("--ignore", self.ignore)]
        return " ".join(f"{option} {','.join(globs)}" for option, globs in given if globs) or "no patterns"


@dataclass(frozen=True)
class Marker:
    """The content of `.complete.json`.

    `listing` is the digest of all that the hub listed, chosen or not. It is empty, and `patterns` None, in markers that
    are older than these two.
    """

    model: str
    revision: str
    commit: str
    files: dict[str, FileRecord]
    patterns: Patterns | None = None
    listing: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files.values())

    def names(self, model: str, revision: str) -> bool:
        """Whether this is the asked model at the asked branch, tag or commit."""
        return self.model == model and revision in (self.revision, self.commit)

    def wrong_sizes(self, folder: Path) -> list[str]:
        """Files that are missing in `folder` or have another size."""
        with reading(folder):
            return [path for path, record in self.files.items() if _size(folder / path) != record.size]

    def write(self, folder: Path) -> None:
        """Write `.complete.json` so that it is there whole or not at all, even after a power cut."""
        data = {
            "model": self.model,
            "revision": self.revision,
            "commit": self.commit,
            "files": {path: {"size": f.size, "sha256": f.sha256} for path, f in sorted(self.files.items())},
        }
        if self.patterns is not None:
            data |= {"allow": self.patterns.allow, "ignore": self.patterns.ignore}
        if self.listing:
            data["listing"] = self.listing
        part = folder / f"{NAME}.tmp"
        with part.open("w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / NAME)
        fsync_folder(folder)


def read(folder: Path) -> Marker | None:
    """The marker of `folder`; None where there is none that is whole. Raises Failure where it cannot be read."""
    path = folder / NAME
    try:
        with reading(path, missing=True):
            text = path.read_text(encoding="utf-8") if path.stat().st_size <= _LARGEST else ""
        data = json.loads(text)
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    try:
        files = {name: FileRecord(int(f["size"]), str(f["sha256"])) for name, f in data["files"].items()}
        if not all(map(is_safe, files)):
            return None
        patterns = Patterns.of(map(str, data["allow"]), map(str, data["ignore"])) if "allow" in data else None
        listing = str(data.get("listing") or "")
        return Marker(str(data["model"]), str(data["revision"]), str(data["commit"]), files, patterns, listing)
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return None


def _size(path: Path) -> int:
    """-1 for what is not there."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1

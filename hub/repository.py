"""Repositories as folders: ROOT/OWNER/NAME is the branch `master`, ROOT/OWNER/NAME@REV any further revision."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RepoFile:
    """One file of one revision."""

    path: str
    size: int
    sha256: str
    modified_ns: int
    local: Path

    def unchanged(self) -> bool:
        """Whether the file on disk still is the one that was listed."""
        try:
            stat = self.local.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.modified_ns)


@dataclass(frozen=True)
class Tree:
    """All files of one revision; `commit` is a digest of their names and content."""

    revision: str
    commit: str
    files: dict[str, RepoFile]


class Repositories:
    """Reads revisions on every request, so that a test may change the folders while the hub runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._digests: dict[tuple[str, int, int], str] = {}
        self._seen: dict[tuple[str, str], Tree] = {}
        self._lock = threading.Lock()

    def revisions(self, model: str) -> dict[str, Tree]:
        """All revisions of `owner/name` by name; empty when the hub does not know the model."""
        owner, _, name = model.partition("/")
        folder = self.root / owner
        if not name or not folder.is_dir():
            return {}
        found: dict[str, Tree] = {}
        for entry in sorted(folder.iterdir()):
            base, _, revision = entry.name.partition("@")
            if base == name and entry.is_dir():
                found[revision or "master"] = self._tree(revision or "master", entry)
        return found

    def find(self, model: str, revision: str) -> Tree | None:
        """The tree that a branch, tag or commit names."""
        trees = self.revisions(model)
        tree = trees.get(revision) or next((t for t in trees.values() if t.commit == revision), None)
        if tree:
            self._seen[model, revision] = tree
        return tree

    def file(self, model: str, revision: str, path: str) -> RepoFile | None:
        """One file. A tree that was listed before serves as long as this file of it is unchanged."""
        seen = self._seen.get((model, revision))
        if seen and path in seen.files and seen.files[path].unchanged():
            return seen.files[path]
        tree = self.find(model, revision)
        return tree.files.get(path) if tree else None

    def _tree(self, revision: str, folder: Path) -> Tree:
        files: dict[str, RepoFile] = {}
        summary = hashlib.sha1(usedforsecurity=False)
        for local in sorted(p for p in folder.rglob("*") if p.is_file()):
            path = local.relative_to(folder).as_posix()
            stat = local.stat()
            digest = self._digest(local, stat.st_size, stat.st_mtime_ns)
            files[path] = RepoFile(path, stat.st_size, digest, stat.st_mtime_ns, local)
            summary.update(f"{path}\0{stat.st_size}\0{digest}\n".encode())
        return Tree(revision, summary.hexdigest(), files)

    def _digest(self, local: Path, size: int, mtime_ns: int) -> str:
        key = (str(local), size, mtime_ns)
        with self._lock:
            if key not in self._digests:
                with local.open("rb") as stream:
                    self._digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            return self._digests[key]

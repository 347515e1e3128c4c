"""A Git repository of this machine that Argo CD reads by its file:// address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

BRANCH = "main"
AUTHOR = {"GIT_AUTHOR_NAME": "tests", "GIT_AUTHOR_EMAIL": "tests@localhost"}
COMMITTER = {"GIT_COMMITTER_NAME": "tests", "GIT_COMMITTER_EMAIL": "tests@localhost"}


class Repository:
    """A work tree that commits whatever is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._git("init", "--quiet", f"--initial-branch={BRANCH}")

    @property
    def url(self) -> str:
        """Where Argo CD finds it."""
        return f"file://{self.folder}"

    def commit(self, files: dict[str, list[dict[str, Any]] | str]) -> str:
        """Write the files (path -> text or manifests) and commit them; the commit's id."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump_all(content))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"change {', '.join(files)}")
        return self._git("rev-parse", "HEAD").strip()

    def remove(self, *names: str) -> str:
        """Remove files and commit that; the commit's id."""
        self._git("rm", "--quiet", *names)
        self._git("commit", "--quiet", "--message", f"remove {', '.join(names)}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env=os.environ | AUTHOR | COMMITTER,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
        return done.stdout

"""The version stands in pyproject.toml; everything else that says it is written from there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
NUMBER = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"
PLACES = {
    "operator/qwen3_operator/__init__.py": rf'(?<=^__version__ = "){NUMBER}(?="$)',
    "downloader/qwen3_download/__init__.py": rf'(?<=^__version__ = "){NUMBER}(?="$)',
    "downloader/pyproject.toml": rf'(?<=^version = "){NUMBER}(?="$)',
    "charts/qwen3-operator/Chart.yaml": rf"(?:(?<=^version: )|(?<=^appVersion: )){NUMBER}$",
    "deploy/example/kustomization.yaml": rf"(?:(?<=newTag: )|(?<=qwen3-downloader:)){NUMBER}$",
    "README.md": rf"(?<=/charts/qwen3-operator --version ){NUMBER}",
    "docs/install.md": rf"(?<=/charts/qwen3-operator --version ){NUMBER}",
    "docs/upgrade.md": rf"(?<=/charts/qwen3-operator --version ){NUMBER}",
}
"""File -> where it says the version."""


def version() -> str:
    """The version of operator, downloader, images and chart."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def with_version() -> dict[Path, str]:
    """Each of these files with the version in it. Raises ValueError where a file says none; a page need not."""
    texts = {}
    for name, pattern in PLACES.items():
        text, count = re.subn(pattern, version(), (ROOT / name).read_text(), flags=re.MULTILINE)
        if not count and not name.endswith(".md"):
            raise ValueError(f"{name} says no version any more: correct hack/version.py")
        texts[ROOT / name] = text
    return texts

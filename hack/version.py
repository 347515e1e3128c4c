"""The version stands in pyproject.toml; everything else that says it is written from there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
NUMBER = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"
COMMAND = (
    r"(?:(?<=/charts/qwen3-operator --version )|(?<=dist/qwen3-operator-)|(?<=mage\.tag=)"
    rf"|(?<=/team/qwen3-operator:)|(?<=/team/qwen3-downloader:)){NUMBER}"
)
"""In a command of the documents, and in the test that runs it."""
PAGES = (
    "README",
    *(f"docs/{page}" for page in ("air-gap", "gateway", "install", "quick-start", "upgrade", "your-cluster")),
)
"""Of the documents, in both languages, those whose commands say it."""
PLACES = {
    "operator/qwen3_operator/__init__.py": rf'(?<=^__version__ = "){NUMBER}(?="$)',
    "downloader/qwen3_download/__init__.py": rf'(?<=^__version__ = "){NUMBER}(?="$)',
    "downloader/pyproject.toml": rf'(?<=^version = "){NUMBER}(?="$)',
    "charts/qwen3-operator/Chart.yaml": rf"(?:(?<=^version: )|(?<=^appVersion: )){NUMBER}$",
    "deploy/example/kustomization.yaml": rf"(?:(?<=newTag: )|(?<=qwen3-downloader:)){NUMBER}$",
    **dict.fromkeys((f"{page}{language}" for page in PAGES for language in (".md", ".zh-CN.md")), COMMAND),
    **dict.fromkeys(("tests/cluster/test_commands.py", "tests/documents/test_commands.py"), COMMAND),
    "tests/distribution/test_release.py": COMMAND,
}
"""File -> where it says the version."""


def version() -> str:
    """The version of operator, downloader, images and chart."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def with_version() -> dict[Path, str]:
    """Each of these files with the version in it. Raises ValueError where a file says none; documents need not."""
    texts = {}
    for name, pattern in PLACES.items():
        if pattern == COMMAND and not (ROOT / name).exists():
            continue  # a page without a translation
        text, count = re.subn(pattern, version(), (ROOT / name).read_text(), flags=re.MULTILINE)
        if not count and pattern != COMMAND:
            raise ValueError(f"{name} says no version any more: correct hack/version.py")
        texts[ROOT / name] = text
    return texts

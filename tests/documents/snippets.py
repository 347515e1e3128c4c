"""What users may copy: the YAML and the commands of README, docs and examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent.parent
_BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE)


class Snippet(NamedTuple):
    """A piece of a document; `where` names it in a test's id."""

    where: str
    text: str


def pages() -> list[Path]:
    """README and every page that is written by hand."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> Iterator[Snippet]:
    """Fenced blocks of that language."""
    for page in pages():
        for number, match in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if match["language"] == language:
                yield Snippet(f"{page.name}-{number}", match["text"])


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every manifest of the examples and of the documents, with its place."""
    files = [
        Snippet(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.yaml"))
    ]
    for snippet in [*files, *blocks("yaml")]:
        for document in yaml.safe_load_all(snippet.text):
            yield snippet.where, document


def commands() -> Iterator[tuple[str, str]]:
    """Every command line of the documents, with its place; comments and line continuations resolved."""
    for snippet in blocks("sh"):
        for line in snippet.text.replace("\\\n", " ").splitlines():
            command = " ".join(line.split(" # ")[0].split())
            if command and not command.startswith("#"):
                yield snippet.where, command


def documented(command: str) -> str:
    """A command as it stands in the documents. A test takes the commands that it runs from here, each as a literal, so
    that test_commands.py finds them, and a document that says something else by now fails it."""
    assert command in {text for _, text in commands()}, f"no document says: {command}"
    return command

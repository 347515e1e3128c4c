"""What users may copy: the YAML and the commands of READMEs, docs and examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent.parent
CHINESE = ".zh-CN.md"
BLOCK = re.compile(r"^ *```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE)
TESTED, UNTESTED = "# tested by ", "# untested: "
"""How a line above a command says what runs it, or why nothing does; good for the commands after it in the block."""


class Snippet(NamedTuple):
    """A piece of a document; `where` names it in a test's id."""

    where: str
    text: str


class Command(NamedTuple):
    """A command of a document, comments and line continuations resolved, and the mark that stands above it."""

    where: str
    text: str
    mark: str = ""


def pages() -> list[Path]:
    """READMEs and every page in English. A Chinese page has the same blocks (test_translations.py)."""
    here = ("README.md", "CONTRIBUTING.md", "devcluster/README.md", "tests/perf/gpu/README.md")
    return [ROOT / name for name in here] + [p for p in sorted((ROOT / "docs").glob("*.md")) if CHINESE not in p.name]


def translations() -> list[Path]:
    """Every page in Chinese."""
    return [*sorted(ROOT.glob(f"*{CHINESE}")), *sorted((ROOT / "docs").glob(f"*{CHINESE}"))]


def blocks(language: str) -> Iterator[Snippet]:
    """Fenced blocks of that language."""
    for page in pages():
        yield from blocks_of(page.read_text(encoding="utf-8"), language, page.name)


def blocks_of(page: str, language: str, name: str = "page") -> Iterator[Snippet]:
    """Fenced blocks of one page."""
    for number, match in enumerate(BLOCK.finditer(page)):
        if match["language"] == language:
            yield Snippet(f"{name}-{number}", match["text"])


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every manifest of the examples and of the documents, with its place."""
    files = [
        Snippet(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.yaml"))
    ]
    for snippet in [*files, *blocks("yaml")]:
        for document in yaml.safe_load_all(snippet.text):
            yield snippet.where, document


def commands() -> Iterator[Command]:
    """Every command line of the documents, with its place and mark."""
    for page in pages():
        yield from commands_of(page.read_text(encoding="utf-8"), page.name)


def commands_of(page: str, name: str = "page") -> Iterator[Command]:
    """Every command line of one page."""
    for language in ("sh", "console"):
        for snippet in blocks_of(page, language, name):
            mark = ""
            for line in logical_lines(snippet.text):
                if is_mark(line):
                    mark = line.strip()
                elif command := command_in(line, language):
                    yield Command(snippet.where, command, mark)


def logical_lines(block: str) -> list[str]:
    """Lines of a block; one that a backslash continues is one line."""
    return re.findall(r"(?:.*\\\n)*.*\n", block)


def is_mark(line: str) -> bool:
    """Whether a line of a block says how the commands after it are tested."""
    return line.strip().startswith((TESTED, UNTESTED))


def command_in(line: str, language: str = "sh") -> str:
    """The command that a logical line has; "" for a comment, and in a console block for what is printed."""
    command = " ".join(line.replace("\\\n", " ").split(" # ")[0].split())
    if language == "console":
        command = command.removeprefix("$ ") if command.startswith("$ ") else ""
    return "" if command.startswith("#") else command


def documented(command: str) -> str:
    """A command as it stands in the documents. A test takes the commands that it runs from here, each as a literal, so
    that test_commands.py finds them, and a document that says something else by now fails it."""
    assert command in {it.text for it in commands()}, f"no document says: {command}"
    return command

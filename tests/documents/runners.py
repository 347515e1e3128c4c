"""What runs the commands of the documents: a test that takes one from there by `documented()`, or CI."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.documents.snippets import BLOCK, ROOT, TESTED, UNTESTED, command_in, is_mark, logical_lines

CI = (ROOT / ".ci" / "run", ROOT / ".ci" / "nightly")


def mark_of(command: str) -> str:
    """The mark of a command that something runs; "" where nothing does."""
    runner = run_by_tests().get(command) or ("CI" if command in run_by_ci() else "")
    return f"{TESTED}{runner}" if runner else ""


def with_marks(page: str) -> str:
    """A page whose command blocks say what runs each command. Why nothing runs one is its author's to say."""
    return BLOCK.sub(_marked, page)


def _marked(block: re.Match[str]) -> str:
    language = block["language"]
    if language not in ("sh", "console"):
        return block[0]
    lines: list[str] = []
    written = reason = ""
    for line in logical_lines(block["text"]):
        if is_mark(line):
            reason = line.strip() if line.strip().startswith(UNTESTED) else ""
            continue
        if command := command_in(line, language):
            runs = mark_of(command)
            mark, reason = (runs, "") if runs else (reason or f"{UNTESTED}WHY?", reason)
            if mark != written:
                indent = line[: len(line) - len(line.lstrip())]
                lines.append(f"{indent}{mark}\n")
                written = mark
        lines.append(line)
    start, end = block.span("text")
    begin = block.start()
    return block[0][: start - begin] + "".join(lines) + block[0][end - begin :]


@cache
def run_by_tests() -> dict[str, str]:
    """Command -> the test file that runs it: each literal that is given to `documented`."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    return {text: str(path.relative_to(ROOT)) for path in files for text in _literals(path)}


def _literals(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "documented(" in text else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "documented":
            (argument,) = node.args
            assert isinstance(argument, ast.Constant), f"{path.name}: documented() takes a literal"
            yield str(argument.value)


@cache
def run_by_ci() -> set[str]:
    """`make` commands that CI runs, and those that these run before their own work."""
    lines = {line.strip() for script in CI for line in script.read_text(encoding="utf-8").splitlines()}
    direct = {line for line in lines if line.startswith("make ")}
    needs = targets()
    found, waiting = set(), [line.split()[1] for line in direct]
    while waiting:
        target = waiting.pop()
        if target not in found:
            found.add(target)
            waiting += needs.get(target, ([], False))[0]
    # A target without work of its own is run where all that it needs is.
    found |= {name for name, (before, works) in needs.items() if before and not works and set(before) <= found}
    return direct | {f"make {name}" for name in found}


def targets() -> dict[str, tuple[list[str], bool]]:
    """Target of the Makefile -> what it needs, and whether it has work of its own."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.finditer(r"^([\w./-]+):(?!=)([^#\n]*)[^\n]*\n(\t)?", text, re.MULTILINE)
    return {rule[1]: (rule[2].split(), bool(rule[3])) for rule in rules}

"""Every command of the documents says what runs it: a test that takes it from there, or CI. Else it says why nothing
does, where the reader sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.documents.runners import mark_of, run_by_ci, targets, with_marks
from tests.documents.snippets import ROOT, UNTESTED, Command, commands, pages, translations

ALL = list(commands())
MAKE = sorted({found[1] for it in ALL if (found := re.search(r"(?:^| )make ([a-z0-9-]+)", it.text))})


@pytest.mark.parametrize("page", [*pages(), *translations()], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_marks_say_what_is_so(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_marks(text) == text, "what runs a command changed: python -m tests.documents marks"


@pytest.mark.parametrize("it", [it for it in ALL if not mark_of(it.text)], ids=lambda it: f"{it.where}-{it.text}")
def test_what_nothing_runs_says_why(it: Command) -> None:
    assert it.mark.startswith(UNTESTED) and "WHY?" not in it.mark, (
        f"nothing runs it: run it in a test by documented(), or write `{UNTESTED}the reason` above it"
    )
    pytest.skip(it.mark.removeprefix(UNTESTED))


@pytest.mark.parametrize("target", MAKE)
def test_make_knows_the_target(target: str) -> None:
    assert target in targets()


def test_ci_runs_what_it_says() -> None:
    assert {"make setup", "make verify", "make test-unit", "make test-e2e", "make test-fuzz"} <= run_by_ci()
    assert "make demo" not in run_by_ci()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("make verify\n", "# tested by CI\nmake verify\n"),
        ("# untested: it is run by now\nmake verify\n", "# tested by CI\nmake verify\n"),
        ("# tested by CI\nnowhere --run\n", "# untested: WHY?\nnowhere --run\n"),
        ("# untested: no GPU here\na \\\n  --b\n\nc\n", "# untested: no GPU here\na \\\n  --b\n\nc\n"),
        (
            "# a comment\nmake verify # lint\nmake setup\n",
            "# a comment\n# tested by CI\nmake verify # lint\nmake setup\n",
        ),
    ],
)
def test_marks_are_written_where_they_belong(before: str, after: str) -> None:
    assert with_marks(f"Text\n\n```sh\n{before}```\n") == f"Text\n\n```sh\n{after}```\n"


def test_a_console_block_has_its_output_left_alone() -> None:
    page = "```console\n# untested: no cluster\n$ kubectl get q3b\nNAME   # DONE\n```\n"
    assert with_marks(page) == page

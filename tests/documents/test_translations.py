"""Chinese pages: each command and manifest is the one in English, and none is older than what it translates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.documents.snippets import BLOCK, pages, translations
from tests.documents.translated import (
    IN_ENGLISH_ONLY,
    changed_since_translation,
    original_of,
    relative,
    stamp,
    translation_of,
    without_comments,
)

each_translation = pytest.mark.parametrize("page", translations(), ids=relative)


@pytest.mark.parametrize("page", pages(), ids=relative)
def test_each_page_is_translated_or_says_why_not(page: Path) -> None:
    assert translation_of(page).exists() != (relative(page) in IN_ENGLISH_ONLY), (
        f"write {translation_of(page).name}, or say in translated.py why there is none"
    )


@each_translation
def test_its_blocks_are_those_in_english(page: Path) -> None:
    def found(path: Path) -> list[tuple[str, str]]:
        return [(m["language"], without_comments(m["text"])) for m in BLOCK.finditer(path.read_text(encoding="utf-8"))]

    assert found(page) == found(original_of(page))


@each_translation
def test_it_is_not_older_than_the_page_in_english(page: Path) -> None:
    changed = changed_since_translation(original_of(page))
    name = relative(original_of(page))
    assert not changed, f"bring {page.name} up to date, then: python -m tests.documents translated {name}"


def test_a_changed_sentence_is_named_by_its_heading(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\nA.\n\n## Two\n\nB.\n\n```sh\n# tested by CI\nrun # now\n```\n")
    translation_of(page).write_text("# 一\n")
    assert changed_since_translation(page) == ["# One", "## Two"], "nothing says what it was made from"
    stamp(page)
    assert changed_since_translation(page) == []
    page.write_text(page.read_text().replace("by CI", "by tests/x.py").replace("A.\n", "A. \n\n"))
    assert changed_since_translation(page) == [], "neither marks nor spaces are the translator's"
    page.write_text(page.read_text().replace("B.", "C."))
    assert changed_since_translation(page) == ["## Two"]
    page.write_text("# One\n\nA.\n")
    assert changed_since_translation(page) == ["1 section(s) that are gone or changed"]
    stamp(page)
    assert translation_of(page).read_text().count("Translated from") == 1
    assert changed_since_translation(page) == []


def test_comments_may_be_translated_and_nothing_else() -> None:
    assert without_comments("# one\na --b # two\n") == without_comments("# 一\na --b   # 二\n") == "a --b"
    assert without_comments("a: x#y\n") == "a: x#y"

"""hack/chinese.yaml translates texts that the generated pages have, as they are now."""

from __future__ import annotations

import yaml
from tests.documents.snippets import ROOT

WORDS = yaml.safe_load((ROOT / "hack" / "chinese.yaml").read_text(encoding="utf-8"))


def test_no_translation_is_of_a_text_that_is_gone() -> None:
    pages = ("docs/reasons.md", "docs/api-reference.md")
    english = " ".join(" ".join((ROOT / page).read_text(encoding="utf-8").split()) for page in pages)
    assert [text for text in WORDS if text.rstrip(".") not in english] == []


def test_every_heading_of_the_reasons_is_in_chinese() -> None:
    text = (ROOT / "docs" / "reasons.zh-CN.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert [it for it in headings if it.isascii() or it == "# Reasons"] == []


def test_every_reason_is_in_chinese() -> None:
    """What it means and what to do. The words of a condition itself stay as it says them."""

    def explained(page: str) -> list[str]:
        lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
        rows = [[cell.strip() for cell in line.split(" | ")] for line in lines if line.startswith("| `")]
        return [text for row in rows for text in (row[1:3] if len(row) == 4 else row[2:])]

    english, chinese = explained("reasons.md"), explained("reasons.zh-CN.md")
    assert len(chinese) == len(english) > 500
    same = [text for text, of in zip(chinese, english, strict=True) if text == of and text.strip("| ")]
    assert same == [], "say it in hack/chinese.yaml"

"""hack/chinese.yaml translates texts that the generated pages have, as they are now."""

from __future__ import annotations

import yaml
from tests.documents.snippets import ROOT


def test_no_translation_is_of_a_text_that_is_gone() -> None:
    words = yaml.safe_load((ROOT / "hack" / "chinese.yaml").read_text(encoding="utf-8"))
    pages = ("docs/reasons.md", "docs/api-reference.md")
    english = " ".join(" ".join((ROOT / page).read_text(encoding="utf-8").split()) for page in pages)
    assert [text for text in words if text.rstrip(".") not in english] == []


def test_every_heading_of_the_reasons_is_in_chinese() -> None:
    text = (ROOT / "docs" / "reasons.zh-CN.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert [it for it in headings if it.isascii() or it == "# Reasons"] == []

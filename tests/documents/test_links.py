"""Every link of the pages leads to a file and a heading that are there, on a forge as on the site."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from tests.documents.snippets import BLOCK, CHINESE, ROOT, pages, translations
from tests.documents.translated import original_of, relative, translation_of

PROMISED = {"install.md", "keys.md", "kubectl-qwen3.md", "metrics.md", "upgrade.md"}
"""Pages of docs/ that may be linked before they are there."""
IN_THE_REPOSITORY = {"CONTRIBUTING.md", "CHANGELOG.md"}
ALL = [*pages(), *translations(), ROOT / "CHANGELOG.md"]
_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)")


@cache
def anchors(page: Path) -> set[str]:
    """What a forge makes of the page's headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).strip().replace(" ", "-") for h in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """(file, anchor) of each link to a file."""
    return _LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", ALL, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        target = (page.parent / file).resolve() if file else page
        if not target.exists() and target.parent == ROOT / "docs" and target.name in PROMISED:
            continue
        assert target.exists(), f"{file} is not there"
        assert not anchor or anchor in anchors(target), f"{file} has no heading #{anchor}"


@pytest.mark.parametrize("page", translations(), ids=relative)
def test_a_chinese_page_leads_to_chinese_pages(page: Path) -> None:
    for file, _ in links(page):
        target = (page.parent / file).resolve()
        if target.suffix == ".md" and CHINESE not in target.name and target != original_of(page):
            assert not translation_of(target).exists(), f"{file} is there in Chinese"


def test_every_page_of_docs_stands_in_the_sites_menu() -> None:
    class Loader(yaml.SafeLoader):
        """mkdocs names Python functions."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    menu = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]

    def files(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        inner = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ()
        return set().union(*map(files, inner)) if inner else set()

    there = {path.name for path in (ROOT / "docs").glob("*.md") if CHINESE not in path.name}
    assert files(menu) == there

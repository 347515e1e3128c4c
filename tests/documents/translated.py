"""Chinese pages and what they were translated from: each says, in its last line, of which sections in English."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.documents.snippets import BLOCK, CHINESE, ROOT

IN_ENGLISH_ONLY = {
    "CONTRIBUTING.md": "the project works in English",
    "devcluster/README.md": "the project works in English",
    "tests/perf/gpu/README.md": "the project works in English",
    "docs/architecture.md": "for contributors",
    "docs/bad-input.md": "made by tests/cluster/test_bad_input.py from what the operator says, which is English",
    "docs/install.md": "not translated yet",
    "docs/keys.md": "not translated yet",
    "docs/kubectl-qwen3.md": "not translated yet",
    "docs/metrics.md": "not translated yet",
    "docs/upgrade.md": "not translated yet",
}
"""Pages without a translation, and why."""
_STAMP = re.compile(r"\n<!-- Translated from (?P<page>\S+): (?P<digests>[0-9a-f ]*) -->\n\Z")
_HEADING = re.compile(r"^#{1,4} ", re.MULTILINE)


class Section(NamedTuple):
    """A heading in English with what stands under it."""

    heading: str
    digest: str


def translation_of(page: Path) -> Path:
    """Where a page's translation is kept."""
    return page.with_name(page.stem + CHINESE)


def original_of(translation: Path) -> Path:
    """What a page in Chinese is a translation of."""
    return translation.with_name(translation.name.removesuffix(CHINESE) + ".md")


def sections(page: Path) -> list[Section]:
    """A page's sections. Marks of commands do not count: they change with the tests."""
    text = BLOCK.sub(lambda block: without_comments(block[0]), page.read_text(encoding="utf-8"))
    # A `# comment` of a block is gone by now: what is left are headings.
    starts = [0, *(m.start() for m in _HEADING.finditer(text)), len(text)]
    parts = [text[a:b] for a, b in pairwise(starts)]
    return [
        Section(part.partition("\n")[0], hashlib.sha256(" ".join(part.split()).encode()).hexdigest()[:6])
        for part in parts
        if part.strip()
    ]


def changed_since_translation(page: Path) -> list[str]:
    """Headings of sections that the translation does not know as they are, and a word where one is gone."""
    stamp = _STAMP.search(translation_of(page).read_text(encoding="utf-8"))
    known = stamp["digests"].split() if stamp else []
    found = sections(page)
    changed = [it.heading for it in found if it.digest not in known]
    gone = set(known) - {it.digest for it in found}
    return changed + [f"{len(gone)} section(s) that are gone or changed"] * (bool(gone) and not changed)


def stamp(page: Path) -> None:
    """Write into the translation that it is of the page as it is now."""
    path = translation_of(page)
    text = _STAMP.sub("", path.read_text(encoding="utf-8")).rstrip("\n")
    digests = " ".join(it.digest for it in sections(page))
    path.write_text(f"{text}\n\n<!-- Translated from {page.name}: {digests} -->\n", encoding="utf-8")


def without_comments(block: str) -> str:
    """What is to be equal in both languages: a block but for its comments, which are translated."""
    lines = (re.sub(r"(^| +)# .*$", "", line) for line in block.splitlines())
    return "\n".join(line.rstrip() for line in lines if line.strip())


def relative(page: Path) -> str:
    """A page's name in messages."""
    return str(page.relative_to(ROOT))

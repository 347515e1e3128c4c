"""`python -m tests.documents marks`: write above each command what runs it. `… translated PAGE…`: say that the Chinese
pages of these are up to date; without a page: say which are not."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.documents.runners import with_marks
from tests.documents.snippets import pages, translations
from tests.documents.translated import changed_since_translation, original_of, relative, stamp


def main(words: list[str]) -> int:
    match words:
        case ["marks"]:
            for page in [*pages(), *translations()]:
                before = page.read_text(encoding="utf-8")
                if (after := with_marks(before)) != before:
                    page.write_text(after, encoding="utf-8")
                    print(f"wrote {relative(page)}")
        case ["translated"]:
            for page in map(original_of, translations()):
                for heading in changed_since_translation(page):
                    print(f"{relative(page)}: {heading}")
        case ["translated", *names]:
            for name in names:
                stamp(Path(name).resolve())
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""docs/gateway.md, as it is written."""

from __future__ import annotations

from typing import Any

import yaml
from tests.documents.snippets import ROOT, blocks_of


def manifests(*kinds: str) -> list[dict[str, Any]]:
    """Those of the page: of ours (yaml), and of the Gateway's (yml)."""
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    blocks = [block for language in ("yaml", "yml") for block in blocks_of(page, language)]
    found = [m for block in blocks for m in yaml.safe_load_all(block.text)]
    return [m for m in found if not kinds or m["kind"] in kinds]

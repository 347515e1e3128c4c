"""The CRDs as they are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "crds"


def crds(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All of a folder, in the order of their files. Read by libyaml: YAML's reader in Python takes seconds for them."""
    return [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in sorted(folder.glob("*.yaml"))]

"""Write the files that are made from the code: CRDs, the chart's copy of them, reference pages.

`--check` only says what is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reference import CHINESE, api_reference, reasons

from qwen3_operator.api.crd import crds
from qwen3_operator.commands.output import to_yaml

ROOT = Path(__file__).parent.parent
HEADER = "# Generated from operator/qwen3_operator/api by `make crds`.\n"


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    files = {}
    for crd in crds():
        name = f"{crd['spec']['names']['plural']}.yaml"
        kept = {**crd, "metadata": {**crd["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
        files[ROOT / "crds" / name] = HEADER + to_yaml(crd)
        files[ROOT / "charts/qwen3-operator/files/crds" / name] = HEADER + to_yaml(kept)
    files[ROOT / "docs/api-reference.md"] = api_reference()
    files[ROOT / "docs/api-reference.zh-CN.md"] = api_reference(CHINESE)
    files[ROOT / "docs/reasons.md"] = reasons()
    files[ROOT / "docs/reasons.zh-CN.md"] = reasons(CHINESE)
    return files


def main() -> int:
    """Write, or with --check compare; returns the exit code."""
    stale = {p: text for p, text in generated().items() if not p.exists() or p.read_text() != text}
    for path, text in stale.items():
        if "--check" in sys.argv:
            print(f"stale: {path.relative_to(ROOT)} (run `make crds`)", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

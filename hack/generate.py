"""Write the files that are made from the models: crds/ and the chart's copy. `--check` only says what is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from qwen3_operator.__main__ import to_yaml
from qwen3_operator.api.crd import crds

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
    return files


def main() -> int:
    """Write, or with --check compare; returns the exit code."""
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"stale: {path.relative_to(ROOT)} (run `make crds`)", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated()[path])
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

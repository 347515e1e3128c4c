"""Write the files that are made from the code: CRDs, the chart's copy of them and its dashboards, reference pages,
pictures, cases for Argo CD, the version where it is said, and from the chart the manifests of deploy/base (which takes
helm, as the development cluster builds it).

`--check` only says what is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dashboards import dashboards
from reference import CHINESE, api_reference, reasons
from version import with_version

from qwen3_operator.api.crd import crds
from qwen3_operator.commands.output import to_yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for images and tests, which are packages of the checkout alone

from argo_cd import argo_cd  # noqa: E402
from images.release import CHART, manifest  # noqa: E402
from pictures import pictures  # noqa: E402

HEADER = "# Generated from operator/qwen3_operator/api by `make crds`.\n"
OF_CHART = (
    "# Generated from charts/qwen3-operator by `make crds`. Name the images in an overlay, as in deploy/example.\n"
)


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    files = {}
    for crd in crds():
        name = f"{crd['spec']['names']['plural']}.yaml"
        kept = {**crd, "metadata": {**crd["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
        files[ROOT / "crds" / name] = HEADER + to_yaml(crd)
        files[ROOT / "charts/qwen3-operator/files/crds" / name] = HEADER + to_yaml(kept)
    plurals = sorted(crd["spec"]["names"]["plural"] for crd in crds())
    # This name, as `kubectl apply -f crds/` takes every file that ends in .yaml or .yml.
    files[ROOT / "crds/Kustomization"] = HEADER + to_yaml(kustomization(*(f"{plural}.yaml" for plural in plurals)))
    for name, text in dashboards().items():
        files[ROOT / f"charts/qwen3-operator/files/monitoring/dashboards/{name}.json"] = text
    files |= argo_cd()
    files[ROOT / "docs/api-reference.md"] = api_reference()
    files[ROOT / "docs/api-reference.zh-CN.md"] = api_reference(CHINESE)
    files[ROOT / "docs/reasons.md"] = reasons()
    files |= {ROOT / "docs/images" / name: picture for name, picture in pictures().items()}
    files[ROOT / "docs/reasons.zh-CN.md"] = reasons(CHINESE)
    return files


def kustomization(*resources: str) -> dict[str, Any]:
    """A kustomization of these resources."""
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return kind | {"resources": list(resources)}


def deploy() -> dict[Path, str]:
    """The kustomize base, from the chart as it lies on the disk."""
    named = ("image.repository=qwen3-operator", "downloaderImage.repository=qwen3-downloader", "crds.install=false")
    return {
        ROOT / "deploy/base/operator.yaml": OF_CHART + manifest(CHART, *named),
        ROOT / "deploy/base/kustomization.yaml": OF_CHART + to_yaml(kustomization("../../crds", "operator.yaml")),
    }


def main() -> int:
    """Write, or with --check compare; returns the exit code."""
    checked, stale = "--check" in sys.argv, False
    for files in (generated, with_version, deploy):  # the chart has to be fresh before it is rendered
        for path, text in files().items():
            if path.exists() and path.read_text() == text:
                continue
            stale = True
            if checked:
                print(f"stale: {path.relative_to(ROOT)} (run `make crds`)", file=sys.stderr)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and checked else 0


if __name__ == "__main__":
    sys.exit(main())

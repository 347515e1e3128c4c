"""Every sample makes sense: it is explained without a problem, fits an 80 GB GPU, and renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.documents.snippets import manifests

from qwen3_operator.__main__ import main

RENDERED = {
    "Qwen3Deployment": {"Job", "Service", "Deployment"},
    "Qwen3Batch": {"Job", "ConfigMap"},
}
ALL = list(manifests())
SAMPLES = [(where, m) for where, m in ALL if m["kind"] in RENDERED]
NAMED = {(m["kind"], m["metadata"]["name"]): m for _, m in ALL}
each_sample = pytest.mark.parametrize(
    ("where", "manifest"), SAMPLES, ids=[f"{w}-{m['metadata']['name']}" for w, m in SAMPLES]
)


def written(manifest: dict[str, Any], folder: Path) -> str:
    """A file with the sample, and with the objects that it refers to."""
    path = folder / "sample.yaml"
    spec = manifest["spec"]
    referred = [
        NAMED[kind, spec[field]["name"]]
        for field, kind in (("deploymentRef", "Qwen3Deployment"), ("modelRef", "Qwen3Model"))
        if field in spec
    ]
    path.write_text(yaml.safe_dump_all([manifest, *referred]))
    return str(path)


@each_sample
def test_it_fits_an_h100(
    where: str, manifest: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(manifest, tmp_path)
    assert main(["explain", "-f", path, "--gpu", "H100-80GB", "-o", "json"]) == 0, capsys.readouterr().out


@each_sample
def test_it_renders(where: str, manifest: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", written(manifest, tmp_path)]) == 0
    kinds = [d["kind"] for d in yaml.safe_load_all(capsys.readouterr().out)]
    shared = set() if "modelRef" in manifest["spec"] else {"Qwen3Model"}
    assert RENDERED[manifest["kind"]] | shared <= set(kinds)

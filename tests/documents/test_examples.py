"""Every sample makes sense: it is explained without a problem, and fits an 80 GB GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.documents.snippets import manifests

from qwen3_operator.__main__ import main

DEPLOYMENTS = [(where, m) for where, m in manifests() if m["kind"] == "Qwen3Deployment"]


@pytest.mark.parametrize(
    ("where", "manifest"), DEPLOYMENTS, ids=[f"{w}-{m['metadata']['name']}" for w, m in DEPLOYMENTS]
)
def test_it_fits_an_h100(
    where: str, manifest: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sample.yaml"
    path.write_text(yaml.safe_dump(manifest))
    assert main(["explain", "-f", str(path), "--gpu", "H100-80GB", "-o", "json"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "manifest"), DEPLOYMENTS, ids=[f"{w}-{m['metadata']['name']}" for w, m in DEPLOYMENTS]
)
def test_it_renders(where: str, manifest: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sample.yaml"
    path.write_text(yaml.safe_dump(manifest))
    assert main(["render", "-f", str(path)]) == 0
    kinds = [d["kind"] for d in yaml.safe_load_all(capsys.readouterr().out)]
    assert {"Qwen3Model", "Job", "Service", "Deployment"} <= set(kinds)

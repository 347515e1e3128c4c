"""The health check for Argo CD, run by a Lua as old as Argo CD's own (5.1) on its cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime
from tests.documents.snippets import blocks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/argo-cd/resource_customizations/serving.qwen3.dev"
CASES = [
    (kind.name, test["inputPath"], test["healthStatus"])
    for kind in sorted(FOLDER.iterdir())
    for test in yaml.safe_load((kind / "health_test.yaml").read_text())["tests"]
]


def health(kind: str, obj: dict[str, Any]) -> dict[str, str]:
    """What the kind's health.lua says of an object."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    return dict(lua.execute((FOLDER / kind / "health.lua").read_text()))


@pytest.mark.parametrize(
    ("kind", "path", "expected"), CASES, ids=[f"{kind}-{Path(path).stem}" for kind, path, _ in CASES]
)
def test_each_case_has_its_health(kind: str, path: str, expected: dict[str, str]) -> None:
    assert health(kind, yaml.safe_load((FOLDER / kind / path).read_text())) == expected


def test_every_health_of_argo_cd_is_met() -> None:
    assert {"Healthy", "Progressing", "Degraded", "Suspended"} == {it["status"] for _, _, it in CASES}


def test_the_document_shows_the_patch_and_the_patch_has_the_same() -> None:
    text = (ROOT / "deploy/argo-cd/argocd-cm.yaml").read_text()
    assert text in [text for where, text in blocks("yaml") if where.startswith("gitops.md")]
    for kind in ("Qwen3Deployment", "Qwen3Model", "Qwen3Batch"):
        said = yaml.safe_load(text)["data"][f"resource.customizations.health.serving.qwen3.dev_{kind}"]
        assert said == (FOLDER / kind / "health.lua").read_text()

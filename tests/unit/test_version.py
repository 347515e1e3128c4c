"""One version, in one place: `make verify` has what was written from it compared (hack/version.py)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import qwen3_download
import qwen3_operator
from qwen3_operator.settings import Settings

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("version", ROOT / "hack" / "version.py")
assert _SPEC and _SPEC.loader
place = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(place)


def test_everybody_says_the_same() -> None:
    chart = yaml.safe_load((ROOT / "charts/qwen3-operator/Chart.yaml").read_text())
    said = {qwen3_operator.__version__, qwen3_download.__version__, chart["version"], chart["appVersion"]}
    said.add(Settings().downloader_image.rpartition(":")[2])
    assert said == {place.version()}
    assert place.with_version() == {path: path.read_text() for path in place.with_version()}


def test_a_new_version_is_written_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "version", lambda: "7.8.9-rc.1")
    texts = {path.relative_to(ROOT).as_posix(): text for path, text in place.with_version().items()}
    chart = yaml.safe_load(texts["charts/qwen3-operator/Chart.yaml"])
    assert (chart["version"], chart["appVersion"]) == ("7.8.9-rc.1", "7.8.9-rc.1")
    assert '__version__ = "7.8.9-rc.1"' in texts["operator/qwen3_operator/__init__.py"]
    assert texts["deploy/example/kustomization.yaml"].count("7.8.9-rc.1") == 2
    for name, text in texts.items():
        assert "7.8.9-rc.1" in text or place.PLACES[name] == place.COMMAND, name


def test_no_document_is_forgotten() -> None:
    """A version in a command is written by hack/version.py, and in the test that runs it."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    pages += [path for path in (ROOT / "tests").rglob("test_*.py") if "documented(" in path.read_text()]
    saying = {page.relative_to(ROOT).as_posix() for page in pages if re.search(place.COMMAND, page.read_text())}
    assert saying <= set(place.PLACES)

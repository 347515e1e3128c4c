"""The shell of the documents is a person's: nothing of what runs the tests shows in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.documents.shell import shell


def test_make_prints_as_in_a_terminal_though_make_runs_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("MAKEFLAGS", "w")
    run = shell(tmp_path / "bin", "nowhere", names=())
    assert "directory" not in run("make help")

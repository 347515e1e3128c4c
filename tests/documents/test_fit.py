"""`explain` as README.md and docs/fit.md show it."""

from __future__ import annotations

import shlex

import pytest
from tests.documents.snippets import ROOT, blocks, documented

from qwen3_operator.__main__ import main

Capture = pytest.CaptureFixture[str]


def run(command: str) -> int:
    """Exit code of a documented command line."""
    program, *words = shlex.split(command)
    assert program == "qwen3-operator"
    return main(words)


def test_the_table_of_the_readme_is_what_comes(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run(documented("qwen3-operator explain --gpus L4,L40S,A100-80GB,H100-80GB --model Qwen/Qwen3-32B")) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    shown = [block.text.splitlines() for block in blocks("text") if "which GPUs serve" in block.text]
    assert shown == [printed]


def test_all_cards(capsys: Capture) -> None:
    assert run(documented("qwen3-operator explain --gpus --model Qwen/Qwen3-8B")) == 0
    assert "1 × A100-40GB" in capsys.readouterr().out


def test_a_file(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(documented("qwen3-operator explain -f examples/qwen3-8b.yaml --gpu H100-80GB")) == 0
    assert "Fits: fits" in capsys.readouterr().out

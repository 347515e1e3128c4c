"""The page of LoRA adapters: its command, and the numbers of its table."""

from __future__ import annotations

import re

import pytest
from tests.documents.snippets import ROOT, documented
from tests.documents.test_fit import run

from qwen3_operator.catalog import lookup
from qwen3_operator.engine.lora import Lora, buffer_bytes
from qwen3_operator.engine.weights import SINGLE_GPU

PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")


def test_the_sample_is_explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(documented("qwen3-operator explain -f examples/lora-adapters.yaml --gpu H100-80GB")) == 0
    reported = capsys.readouterr().out
    assert "maxLoraRank" in reported and "LoRA adapters" in reported


@pytest.mark.parametrize("model", ["Qwen3-8B", "Qwen3-32B", "Qwen3-30B-A3B"])
def test_the_memory_is_what_the_fit_counts(model: str) -> None:
    reported = re.search(rf"^\| {model} \| ([\d.]+) ([GM])iB", PAGE, re.MULTILINE)
    entry = lookup(f"Qwen/{model}")
    assert reported and entry and entry.facts
    counted = buffer_bytes(entry.facts, SINGLE_GPU, Lora(16, 1)) / 2 ** {"G": 30, "M": 20}[reported[2]]
    assert round(counted, 1 if "." in reported[1] else 0) == float(reported[1])

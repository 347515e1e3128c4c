"""The command `qwen3-operator`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.crds import crds

from qwen3_operator import process
from qwen3_operator.__main__ import main
from qwen3_operator.commands.output import to_yaml
from qwen3_operator.settings import Settings


def test_crd_prints_what_is_committed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    committed = crds()
    assert sorted(printed, key=lambda crd: crd["metadata"]["name"]) == committed


@pytest.mark.parametrize("variable", ["WORKERS", "HTTP_PORT"])
def test_a_bad_setting_ends_with_2_and_its_name(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"QWEN3_OPERATOR_{variable}", "many")
    assert main(["run"]) == 2
    assert f"QWEN3_OPERATOR_{variable}: " in capsys.readouterr().err


def test_without_a_cluster_run_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    monkeypatch.setenv("QWEN3_OPERATOR_HTTP_PORT", "0")
    assert main(["run"]) == 1


def test_a_fault_of_its_own_ends_it_with_1_and_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(settings: Settings) -> None:
        raise RecursionError("a fault")

    monkeypatch.setattr(process, "run", fails)
    monkeypatch.setattr("qwen3_operator.controller.log.configure_logging", lambda form, level: None)
    assert main(["run"]) == 1
    assert "RecursionError: a fault" in caplog.text


@pytest.mark.parametrize("words", [[], ["fly"], ["run", "--now"]])
def test_bad_words_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: qwen3-operator" in capsys.readouterr().err


def test_yaml_has_no_anchors() -> None:
    shared = {"a": 1}
    assert to_yaml({"x": shared, "y": shared}) == "x:\n  a: 1\ny:\n  a: 1\n"

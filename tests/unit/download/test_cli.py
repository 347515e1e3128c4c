"""The command line: environment, wrong values, the termination message."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import cli, download, report
from qwen3_download.errors import EXIT_CODES, EXIT_CODES_HELP, Failure, Reason
from qwen3_download.facts import pick
from qwen3_download.marker import Marker
from qwen3_download.progress import Progress, clock, human, mean_rate

GOOD = ["--model", "Qwen/Qwen3-0.6B", "--target", "/models/a"]


def test_environment_and_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_DOWNLOAD_MODEL", "Qwen/Qwen3-8B")
    monkeypatch.setenv("QWEN3_DOWNLOAD_TARGET", "/models/b")
    monkeypatch.setenv("QWEN3_DOWNLOAD_MAX_WORKERS", "3")
    monkeypatch.setenv("QWEN3_DOWNLOAD_JSON", "1")
    monkeypatch.setenv("QWEN3_DOWNLOAD_VERIFY", "false")
    monkeypatch.setenv("QWEN3_DOWNLOAD_IGNORE", "*.md,*.txt")
    args = cli.parse(["--max-workers=5"])
    assert (args.model, str(args.target), args.max_workers) == ("Qwen/Qwen3-8B", "/models/b", 5)
    assert (args.json, args.verify, args.ignore) == (True, False, ["*.md", "*.txt"])
    assert cli.parse(["--ignore", "a"]).ignore == ["a"], "the command line replaces the environment"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "Qwen3-8B", "--target", "/m"], "OWNER/NAME"),
        (["--model", "a/../b", "--target", "/m"], "OWNER/NAME"),
        (["--target", "/m"], "--model is required"),
        (["--model", "a/b"], "--target is required"),
        ([*GOOD, "--revision", "-x"], "revision"),
        ([*GOOD, "--revision", "a..b"], "branch, tag or commit"),
        ([*GOOD, "--endpoint", "modelscope.cn"], "http or https"),
        ([*GOOD, "--limit-rate", "fast"], "500K, 10M or 1G"),
        ([*GOOD, "--max-workers", "0"], "whole number"),
        ([*GOOD, "--max-workers", "100"], "64"),
        ([*GOOD, "--nonsense"], "unrecognized"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "rate"),
    [("500K", 512_000), ("10M", 10 * 2**20), ("1.5G", int(1.5 * 2**30)), ("65536", 65536), ("2MiB/s", 2**21)],
)
def test_rates(text: str, rate: int) -> None:
    assert cli.rate(text) == rate


def test_help_lists_every_exit_code() -> None:
    for reason, code in EXIT_CODES.items():
        assert f"  {code}" in EXIT_CODES_HELP
        assert reason in EXIT_CODES_HELP or reason in (Reason.USAGE, Reason.STOPPED)


def test_the_report_always_fits() -> None:
    config = {"architectures": ["Qwen3ForCausalLM"], "rope_scaling": {"long_factor": [1.25] * 2000}}
    text = report.encode({"result": "Complete", "config": config})
    assert len(text) < 4096 and json.loads(text)["config"] == {"architectures": ["Qwen3ForCausalLM"]}
    text = report.encode(report.failure_report(Failure(Reason.INTEGRITY, "模型" * 5000)))
    assert 3000 < len(text) < 4096 and json.loads(text)["message"].startswith("模型")


def test_what_nobody_thought_of_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> dict[str, Any]:
        raise RuntimeError("as nobody thought")

    monkeypatch.setattr(cli, "_run", broken)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # which it replaces
    log = tmp_path / "log"
    assert cli.main([*GOOD, "--json", "--termination-log", str(log)]) == 1
    said = json.loads(log.read_bytes())
    assert (said["result"], said["reason"], said["exitCode"]) == ("Failed", "DownloadFailed", 1)
    assert "RuntimeError: as nobody thought" in said["message"]
    assert "Traceback" in capsys.readouterr().err


def test_facts_that_cannot_be_read_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All is verified, and in its place."""
    target = tmp_path / "model"
    target.mkdir()
    Marker("a/b", "master", "c", {}).write(target)

    def broken(_: Path) -> dict[str, Any]:
        raise OverflowError("as nobody thought")

    monkeypatch.setattr(download, "read_facts", broken)
    options = download.Options(model="a/b", revision="master", endpoint="http://127.0.0.1:9", target=target)
    said = download.Download(options, Progress(as_json=True), threading.Event()).run()
    assert said["result"] == "Complete" and "config" not in said
    assert json.loads(capsys.readouterr().out)["event"] == "noFacts"


def test_facts_of_plain_quantized_and_vision_models() -> None:
    assert pick({"hidden_size": 8, "bos_token_id": 1, "head_dim": None}) == {"hidden_size": 8}
    quantized = {
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "modules": ["x"] * 999}
    }
    assert pick(quantized) == {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    vision = {"architectures": ["Qwen3VL"], "text_config": {"architectures": None, "hidden_size": 8, "model_type": "t"}}
    assert pick(vision) == {"architectures": ["Qwen3VL"], "text_config": {"hidden_size": 8, "model_type": "t"}}


def test_numbers_for_people() -> None:
    assert [human(n) for n in (5, 1536, 5 * 2**20, 3 * 2**30)] == ["5 B", "1.5 KiB", "5.0 MiB", "3.00 GiB"]
    assert [clock(n) for n in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
    assert mean_rate((0, 0), (2, 10)) == 5 and mean_rate((0, 10), (2, 0)) == 0 and mean_rate((1, 0), (1, 5)) == 0

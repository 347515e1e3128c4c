"""`explain --gpus`: which GPUs serve a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3_operator.__main__ import main
from qwen3_operator.engine.gpu import Gpu, known_gpus

TINY = str(Path(__file__).parents[3] / "tests/data/tiny-qwen3/config.json")
ISSUE = ["Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-235B-A22B-FP8"]
Capture = pytest.CaptureFixture[str]


def reported(capsys: Capture, *options: str) -> Any:
    """The JSON of `explain --gpus`."""
    main(["explain", "-o", "json", *options])
    return json.loads(capsys.readouterr().out)


def counts(data: Any) -> list[tuple[str, int, str]]:
    return [(row["gpu"], row["count"], row["verdict"]) for row in data["gpus"]]


@pytest.mark.parametrize("model", ISSUE)
def test_every_card_is_printed(model: str, capsys: Capture) -> None:
    rows = reported(capsys, "--gpus", "--model", model)["gpus"]
    assert {row["gpu"] for row in rows} == {gpu.name for gpu in known_gpus()}
    assert [row["memoryGiB"] for row in rows] == sorted(row["memoryGiB"] for row in rows)
    for row in rows:
        if row["verdict"] == "Fits":
            assert 8192 <= row["maxModelLenThatFits"] <= 40960
            assert row["kvTokens"] >= row["maxModelLenThatFits"]


def test_the_fewest_that_serve_and_more_while_longer_ones_fit(capsys: Capture) -> None:
    data = reported(capsys, "--gpus", "L4,H200", "--model", "Qwen/Qwen3-8B")
    assert counts(data) == [("L4", 1, "Fits"), ("L4", 2, "Fits"), ("H200", 1, "Fits")]
    short, full, _ = (row["maxModelLenThatFits"] for row in data["gpus"])
    assert short < full == 40960


def test_the_length_of_a_file_is_the_one_that_is_judged(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "file.yaml"
    spec = {"model": {"id": "Qwen/Qwen3-8B"}, "engine": {"maxModelLen": 40960, "tensorParallelSize": 8}}
    meta = {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": "Qwen3Deployment", "metadata": {"name": "chat"}}
    path.write_text(yaml.safe_dump(meta | {"spec": spec}))
    data = reported(capsys, "--gpus", "L4", "-f", str(path))
    assert (data["maxModelLen"], counts(data)) == (40960, [("L4", 2, "Fits")])


def test_where_none_serves_the_most_are_shown_and_the_exit_code_is_1(capsys: Capture) -> None:
    words = ["explain", "--gpus", "L4", "--model", "Qwen/Qwen3-235B-A22B-FP8"]
    assert main([*words, "-o", "json"]) == 1
    assert counts(json.loads(capsys.readouterr().out)) == [("L4", 8, "DoesNotFit")]
    assert main(["explain", "--gpus", "H200", "--model", "Qwen/Qwen3-235B-A22B-FP8"]) == 0


def test_a_node_has_no_more_than_it_has(capsys: Capture) -> None:
    data = reported(capsys, "--gpus", "L4", "--gpus-per-node", "2", "--model", "Qwen/Qwen3-32B")
    assert counts(data) == [("L4", 2, "DoesNotFit")]


def test_a_card_that_cannot_run_the_checkpoint(capsys: Capture) -> None:
    data = reported(capsys, "--gpus", "V100-16GB", "--engine-version", "0.18.0", "--model", "Qwen/Qwen3-8B-FP8")
    assert counts(data) == [("V100-16GB", 8, "QuantizationNotSupported")]
    data = reported(capsys, "--gpus", "V100-32GB", "--model", "Qwen/Qwen3-8B")
    assert counts(data) == [("V100-32GB", 8, "KernelImageMissing")], "its memory is enough"
    main(["explain", "--gpus", "V100-16GB", "--model", "Qwen/Qwen3-8B-FP8"])
    assert "cannot run it" in capsys.readouterr().out


def test_the_number_of_sequences_that_is_needed_is_printed(capsys: Capture) -> None:
    """vLLM's own 1024 states of linear attention take 49 GiB, and one H100 was said not to serve a model of 28 GiB."""
    words = ["--gpus", "H100-80GB", "--model", "Qwen/Qwen3.6-27B-FP8"]
    (row,) = reported(capsys, *words)["gpus"]
    assert (row["count"], row["verdict"], row["maxNumSeqs"]) == (1, "Fits", 512)
    main(["explain", *words])
    assert "Fits with 512 sequences" in capsys.readouterr().out
    (row,) = reported(capsys, "--gpus", "H100-80GB", "--model", "Qwen/Qwen3-8B")["gpus"]
    assert row["maxNumSeqs"] is None


def test_the_utilization_that_is_needed_is_printed(capsys: Capture) -> None:
    """Two L4 have less free at the start than 0.92 of them, once NCCL has its buffers."""
    (row,) = reported(capsys, "--gpus", "L4", "--model", "Qwen/Qwen3-30B-A3B-FP8")["gpus"]
    assert (row["count"], row["verdict"], row["gpuMemoryUtilizationPercent"]) == (2, "Fits", 90)
    main(["explain", "--gpus", "L4", "--model", "Qwen/Qwen3-30B-A3B-FP8"])
    assert "Fits at 90 %" in capsys.readouterr().out


def test_cards_that_come_to_the_same_share_a_line(capsys: Capture) -> None:
    main(["explain", "--gpus", "--model", "Qwen/Qwen3-8B"])
    assert "1 × A40, L20, L40, L40S " in capsys.readouterr().out


def test_the_engine_version_counts(capsys: Capture) -> None:
    new, old = (
        reported(capsys, "--gpus", "H200", "--model", "Qwen/Qwen3-8B", "--engine-version", version)["gpus"][0][
            "kvTokens"
        ]
        for version in ("0.33.0", "0.26.0")
    )
    assert (new, old) == (pytest.approx(798_032, abs=1200), pytest.approx(814_400, abs=1200))


def test_a_model_that_the_catalogue_lacks(capsys: Capture) -> None:
    assert main(["explain", "--gpus", "--model", "me/mine"]) == 2
    assert "give its config.json by --config" in capsys.readouterr().err
    assert reported(capsys, "--gpus", "T4", "--model", "me/mine", "--config", TINY)["gpus"][0]["verdict"] == "Fits"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpus"], "give a file by -f, or a model by --model"),
        (["--gpus", "--model", "Qwen/Qwen3-8B", "-f", "-"], "give a file by -f, or a model by --model"),
        (["--model", "Qwen/Qwen3-8B"], "--model goes with --gpus"),
        (["--gpus", "my-card", "--model", "Qwen/Qwen3-8B"], "my-card is not known"),
        (["--gpus", "--model", "Qwen/" + "x" * 2000], "--model: "),
        (["--gpus", "--model", "Qwen/Qwen3-8B", "--engine-version", "new"], "--engine-version: new is not"),
    ],
)
def test_bad_words(words: list[str], says: str, capsys: Capture) -> None:
    assert main(["explain", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_model_resource_alone_is_nothing_to_serve(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "file.yaml"
    meta = {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": "Qwen3Model", "metadata": {"name": "weights"}}
    path.write_text(yaml.safe_dump(meta | {"spec": {"id": "Qwen/Qwen3-8B"}}))
    assert main(["explain", "--gpus", "-f", str(path)]) == 2
    assert "alone has no plan" in capsys.readouterr().err


@pytest.mark.parametrize("gpu", known_gpus(), ids=lambda gpu: gpu.name)
def test_every_card_is_found_by_its_own_name(gpu: Gpu) -> None:
    assert Gpu.named(gpu.name) == gpu
    assert Gpu.named(f"NVIDIA-{gpu.name}") is not None

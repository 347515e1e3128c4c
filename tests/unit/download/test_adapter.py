"""What of a repository is a LoRA adapter, and what is copied of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.make_tiny_adapter import make_adapter

from qwen3_download import report
from qwen3_download.adapter import read_adapter, read_shapes, select_adapter
from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import RemoteFile
from qwen3_download.structure import check_files

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def files(*names: str, sha256: str = "a" * 64) -> list[RemoteFile]:
    return [RemoteFile(name, 9, sha256) for name in names]


def test_just_the_files_that_vllm_reads_are_taken() -> None:
    beside = ("README.md", "adapter_model.bin", "checkpoint-9/adapter_model.safetensors", "optimizer.pt")
    assert [f.path for f in select_adapter(files(*ADAPTER, *beside, "tokenizer.json"))] == list(ADAPTER)
    old = ("adapter_config.json", "adapter_model.bin")
    assert [f.path for f in select_adapter(files(*old, "tokenizer.json"))] == list(old)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no adapter_config.json"),
        (("adapter_config.json",), "no adapter_model.safetensors or adapter_model.bin"),
        (("config.json", "model.safetensors"), "no adapter_config.json at the root: this is a whole model"),
        (("v0/adapter_config.json", "v0/adapter_model.safetensors"), "there are adapters in v0: publish one"),
    ],
)
def test_what_is_no_adapter_is_refused_by_what_it_is_instead(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(Failure, match=words) as reported:
        select_adapter(files(*names))
    assert reported.value.reason is Reason.INVALID_REPOSITORY


def test_a_file_without_a_hash_is_not_taken() -> None:
    with pytest.raises(Failure, match=r"no sha256 for 'adapter_config\.json'"):
        select_adapter(files(*ADAPTER, sha256=""))


def test_facts_are_those_that_decide(tmp_path: Path) -> None:
    base = f"/root/{'x' * 300}/Qwen3-8B"
    make_adapter(tmp_path, base=base, rank=4, rank_pattern={f"layers.{n}.q_proj": n for n in range(1, 65)})
    facts = read_adapter(tmp_path)
    assert facts["r"] == 4 and facts["rank_pattern"] == 64 and facts["peft_type"] == "LORA"
    assert facts["base_model_name_or_path"].endswith("/Qwen3-8B") and len(facts["base_model_name_or_path"]) == 200
    sizes = {"q_proj": [128, 128], "v_proj": [128, 64], "down_proj": [256, 128]}
    assert read_shapes(tmp_path) == {"rank": 4, "layers": 2, "modules": sizes}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ({"layer_replication": [[0, 4], [2, 5]]}, True),
        ({"use_bdlora": {"blocks": 2}}, True),
        ({"modules_to_save": None}, None),
        ({"modules_to_save": ["lm_head"]}, ["lm_head"]),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_features_that_vllm_may_lack_are_seen(tmp_path: Path, said: dict[str, Any], value: Any) -> None:
    make_adapter(tmp_path, **said)
    assert read_adapter(tmp_path).get(*said) == value


@pytest.mark.parametrize("text", ["", "[]", "{" * 10, '"r"'])
def test_facts_of_what_is_no_adapter_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    (tmp_path / "adapter_model.safetensors").write_text(text)
    assert read_adapter(tmp_path) == {} and read_shapes(tmp_path) == {}
    with pytest.raises(Failure):
        check_files(ADAPTER, lambda name: tmp_path / name)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    make_adapter(tmp_path)
    check_files(ADAPTER, lambda name: tmp_path / name)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(Failure, match="cut short"):
        check_files(ADAPTER, lambda name: tmp_path / name)


def test_a_report_of_the_longest_facts_is_short_enough(tmp_path: Path) -> None:
    make_adapter(tmp_path, base="x" * 900, target_modules=["m" * 128] * 64, modules_to_save=["n" * 128] * 64)
    facts = {"config": read_adapter(tmp_path), "checkpoint": {"lora": read_shapes(tmp_path)}}
    written = report.encode({"result": "Complete", **facts})
    assert len(written) < 4096 and json.loads(written)["config"]["r"] == 8

"""What is copied from the files of a checkpoint: small, in its place, and only what vLLM loads."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import report
from qwen3_download.errors import Failure, Reason
from qwen3_download.facts import chat_template, pick, read_facts, read_files
from qwen3_download.progress import Progress
from qwen3_download.structure import check_files, check_folder


def safetensors(path: Path, **tensors: tuple[str, int]) -> None:
    """A file whose tensors have names with `__` for `.`: (dtype, bytes)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, size) in tensors.items():
        header[name.replace("__", ".")] = {"dtype": dtype, "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def test_nested_parts_keep_their_place() -> None:
    config = {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "thinker_config": {"text_config": {"hidden_size": 8, "pad_token_id": 1}, "vision_config": {"depth": 27}},
        "talker_config": {"text_config": {"hidden_size": 1024}},
        "id2label": {"0": "a"},
    }
    assert pick(config) == {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "thinker_config": {"text_config": {"hidden_size": 8}, "vision_config": {"depth": 27}},
    }


def test_layers_are_counted_and_groups_are_read() -> None:
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32, "actorder": None}}
    config: dict[str, Any] = {
        "layer_types": ["linear_attention"] * 48 + ["full_attention"] * 16,
        "quantization_config": {"quant_method": "compressed-tensors", "ignore": ["lm_head"] * 400},
    }
    config["quantization_config"]["config_groups"] = {"any name": group}
    assert pick(config) == {
        "layer_types": {"linear_attention": 48, "full_attention": 16},
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}},
        },
    }


def test_only_the_root_and_only_what_the_index_names_is_counted(tmp_path: Path) -> None:
    first: dict[str, tuple[str, int]] = {"model__a": ("BF16", 64), "model__s": ("F32", 4), "lm_head__w": ("BF16", 8)}
    safetensors(tmp_path / "model-1.safetensors", **first)
    safetensors(tmp_path / "model-2.safetensors", mtp__a=("BF16", 2), model__b=("F8_E4M3", 16))
    safetensors(tmp_path / "consolidated.safetensors", model__a=("BF16", 64))
    safetensors(tmp_path / "checkpoint-500" / "model.safetensors", model__a=("BF16", 64))
    index = {"weight_map": {"model.a": "model-1.safetensors", "model.b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_files(tmp_path) == {
        "tensors": {
            "model": {"BF16": 64, "F32": 4, "F8_E4M3": 16},
            "lm_head": {"BF16": 8},
            "mtp": {"BF16": 2},
        }
    }


def test_what_stands_beside_the_config(tmp_path: Path) -> None:
    quantization = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(quantization))
    modules = [{"idx": 0, "type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling")]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert read_files(tmp_path) == {
        "quantization": {"quantization": {"quant_algo": "NVFP4", "group_size": 16}},
        "modules": ["Transformer", "Pooling"],
    }


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"a": NaN'])
def test_a_config_that_cannot_be_read_is_no_facts(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert read_facts(tmp_path) == {}


def test_numbers_that_json_does_not_have_are_no_facts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"rope_theta": Infinity, "head_dim": NaN, "num_experts": 1e999, "depth": 2}')
    assert read_facts(tmp_path) == {"depth": 2}


def test_half_a_character_does_not_keep_a_report_from_being_written(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM", "\\ud800"]}')
    facts = read_facts(tmp_path)
    report.write({"result": "Complete", "config": facts}, tmp_path / "log")
    said = {"architectures": ["Qwen3ForCausalLM", "?"]}
    assert json.loads((tmp_path / "log").read_bytes()) == {"result": "Complete", "config": said}
    Progress(as_json=True).event("complete", "", config=facts)
    Progress(as_json=False).event("differs", os.fsdecode(b"a file \xff"))
    first, second = capsysbinary.readouterr().out.splitlines()
    assert json.loads(first)["config"] == said and second == b"a file ?"


def test_templates_that_have_odd_names(tmp_path: Path) -> None:
    templates = [{"name": ["a"], "template": "x"}, {"name": "default", "template": "y"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    assert chat_template(tmp_path) == "y"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"hidden_size": 8}')
    assert read_facts(tmp_path) == {"hidden_size": 8}


def test_a_report_that_is_too_long_loses_its_longest_facts_only() -> None:
    text = {"hidden_size": 4096, "architectures": ["x" * 120] * 60}
    whole = {"result": "Complete", "checkpoint": {"a": {"b": 1}}}
    said = json.loads(report.encode(whole | {"config": {"text_config": text}}))
    assert said == whole | {"config": {"text_config": {"hidden_size": 4096}}}


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 49\n")
    with pytest.raises(Failure, match="Git LFS pointer") as reported:
        check_files(["config.json", "model.safetensors"], lambda name: tmp_path / name)
    assert reported.value.reason is Reason.INVALID_REPOSITORY
    with pytest.raises(Failure, match="Git LFS pointer"):
        check_folder(tmp_path)


def test_a_claim_may_hold_what_a_download_accepts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model-00001-of-00001.bin").write_bytes(b"PK")
    assert check_folder(tmp_path) == ["config.json", "pytorch_model-00001-of-00001.bin"]

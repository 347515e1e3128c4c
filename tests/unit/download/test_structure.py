"""What is no checkpoint is refused on every way: as it arrives, on a claim, and when it is verified again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from qwen3_download.adapter import read_shapes
from qwen3_download.errors import Failure, Reason
from qwen3_download.structure import check_files, check_folder, check_safetensors
from qwen3_download.tensors import read_tensors

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4902257696\n"
EMPTY = (2).to_bytes(8, "little") + b"{}"


def write(folder: Path, **contents: str | bytes) -> Path:
    """a_b__json for `a_b.json`."""
    for name, content in ({"config__json": "{}"} | contents).items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(Failure) as caught:
        check_folder(folder)
    assert caught.value.reason is Reason.INVALID_REPOSITORY
    return str(caught.value)


@pytest.mark.parametrize("name", ["model__safetensors", "pytorch_model__bin", "tokenizer__json", "vocab__txt"])
def test_a_pointer_of_git_lfs(tmp_path: Path, name: str) -> None:
    model = {} if name.startswith("pytorch") else {"model__safetensors": EMPTY}
    assert f"{name.replace('__', '.')} is a Git LFS pointer" in refused(write(tmp_path, **model | {name: POINTER}))


def test_a_picture_may_be_a_pointer(tmp_path: Path) -> None:
    write(tmp_path, model__safetensors=EMPTY, logo__png=POINTER)
    assert check_folder(tmp_path) == ["config.json", "logo.png", "model.safetensors"]


@pytest.mark.parametrize("index", ["model__safetensors__index__json", "pytorch_model__bin__index__json"])
def test_an_index_that_names_what_is_not_there(tmp_path: Path, index: str) -> None:
    name = "model.safetensors" if index.startswith("model") else "pytorch_model.bin"
    (tmp_path / name).write_bytes(EMPTY if name.endswith("safetensors") else b"PK")
    shards = {"weight_map": {"a": name, "b": f"other-{name}"}}
    assert f"names 1 missing files: other-{name}" in refused(write(tmp_path, **{index: json.dumps(shards)}))


def test_the_index_of_a_format_that_stays_out(tmp_path: Path) -> None:
    shards = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}})
    write(tmp_path, model__safetensors=EMPTY, pytorch_model__bin__index__json=shards)
    assert len(check_folder(tmp_path)) == 3


def test_what_torch_did_not_write(tmp_path: Path) -> None:
    assert "no file that torch wrote" in refused(write(tmp_path, pytorch_model__bin="<html>"))


def test_a_module_of_the_model_is_read(tmp_path: Path) -> None:
    write(tmp_path, model__safetensors=EMPTY)
    write(tmp_path)
    for folder in ("2_Dense", "checkpoint-9"):  # which is not loaded
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_bytes(b"cut")
    assert "2_Dense/model.safetensors is not a safetensors file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("adapter_config.json", "adapter_model.safetensors"), "this is an adapter"),
        (("Qwen3-8B-Q4_K_M.gguf",), "GGUF"),
        (("checkpoint-9/config.json", "checkpoint-9/model.safetensors"), "weights in checkpoint-9"),
    ],
)
def test_of_a_claim_is_said_what_it_holds_instead(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(EMPTY)
    assert words in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_not_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    with pytest.raises(Failure) as caught:
        check_folder(tmp_path)
    tmp_path.chmod(0o700)
    assert caught.value.reason is Reason.VOLUME_NOT_READABLE


def test_files_of_an_error_are_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, model__safetensors=EMPTY)

    def fails(path: Path, *_: object, **__: object) -> bytes:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(Failure) as caught:
        check_files(["model.safetensors"], lambda name: tmp_path / name)
    assert caught.value.reason is Reason.VOLUME_ERROR and "cannot read" in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        *('"shape": [Infinity, 1], "data_offsets": [0, 0]', '"shape": [0], "data_offsets": [Infinity, 0]'),
        *('"shape": [0], "data_offsets": [0, "0"]', '"shape": [0], "data_offsets": [0]', '"shape": [0]'),
        *('"shape": [0], "data_offsets": [0, 0.0]', '"shape": [0], "data_offsets": [5, 0]', '"data_offsets": [0, 0]'),
    ],
)
def test_a_header_of_other_types_is_none(tmp_path: Path, tensor: str) -> None:
    """In words as it arrives; and no fact, where it is there."""
    header = f'{{"x.q_proj.lora_A.weight": {{"dtype": "U8", {tensor}}}}}'.encode()
    for name in ("model.safetensors", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(Failure, match="damaged header") as caught:
            check_safetensors(tmp_path / name)
        assert caught.value.reason is Reason.INVALID_REPOSITORY
    assert read_shapes(tmp_path) == read_tensors(tmp_path) == {}

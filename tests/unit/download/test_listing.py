"""The listing: what is refused, what stays out, which commit it is."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import RemoteFile, digest, newest_commit, parse, select

SHA = "a" * 64


def entry(path: str, **fields: Any) -> dict[str, Any]:
    return {"Path": path, "Type": "blob", "Size": 3, "Sha256": SHA, **fields}


def files(*paths: str) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(path, 3, SHA) for path in paths)


def paths(chosen: tuple[RemoteFile, ...]) -> list[str]:
    return [f.path for f in chosen]


def test_folders_are_skipped_and_files_sorted() -> None:
    found = parse([entry("b/c"), {"Path": "b", "Type": "tree"}, entry("a", Sha256=SHA.upper())])
    assert found == files("a", "b/c")


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a/./b", "a//b", "a\\b", "a\nb", "a/", ".complete.json", "x" * 1025, "a\ud800"]
)
def test_unsafe_paths(path: str) -> None:
    with pytest.raises(Failure) as caught:
        parse([entry(path)])
    assert caught.value.reason is Reason.INVALID_REPOSITORY


@pytest.mark.parametrize("path", [".gitattributes", "..a", "a..b/c", "Qwen3 8B/模型.json", "sub/.complete.json"])
def test_odd_but_safe_paths(path: str) -> None:
    assert paths(parse([entry(path)])) == [path]


@pytest.mark.parametrize(
    "fields", [{"Size": None}, {"Size": -1}, {"Size": "3"}, {"Size": 10**30}, {"Sha256": None}, {"Sha256": "a" * 40}]
)
def test_files_without_size_or_digest(fields: dict[str, Any]) -> None:
    """They matter where they are asked for."""
    listed = parse([entry("config.json"), entry("model.safetensors"), entry("a.md", **fields)])
    with pytest.raises(Failure, match=r"no size or no sha256 for 'a\.md'"):
        select(listed, (), ())
    assert paths(select(listed, (), ("*.md",))) == ["config.json", "model.safetensors"]


def test_more_bytes_than_any_model_has() -> None:
    """A counter in memory stands for each block of them."""
    shards = [entry(f"model-{number}.safetensors", Size=2**44) for number in range(3)]
    with pytest.raises(Failure, match="bytes, which no model has") as caught:
        select(parse([entry("config.json"), *shards]), (), ())
    assert caught.value.reason is Reason.INVALID_REPOSITORY


def test_entries_that_are_none() -> None:
    with pytest.raises(Failure, match="entries that are no files"):
        parse([entry("a"), "b"])  # type: ignore[list-item]


def test_contradictions() -> None:
    assert paths(parse([entry("a"), entry("a")])) == ["a"]
    with pytest.raises(Failure, match="twice"):
        parse([entry("a"), entry("a", Size=4)])
    with pytest.raises(Failure, match="as a file and as a folder"):
        parse([entry("a"), entry("a/b")])


def test_duplicates_stay_out_only_beside_safetensors() -> None:
    both = files("config.json", "model.safetensors", "pytorch_model.bin", "original/a.pth", "onnx/model.onnx")
    assert paths(select(both, (), ())) == ["config.json", "model.safetensors"]
    old = files("config.json", "pytorch_model.bin")
    assert paths(select(old, (), ())) == ["config.json", "pytorch_model.bin"]


def test_patterns_of_the_user() -> None:
    all_files = files("config.json", "model.gguf", "model.safetensors", "sub/notes.md")
    assert paths(select(all_files, ("*",), ())) == paths(all_files), "allow also brings duplicates back"
    assert paths(select(all_files, (), ("*.md",))) == ["config.json", "model.safetensors"]
    assert paths(select(all_files, ("*.json", "model*"), ("*.gguf",))) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "empty"), (("model.safetensors",), "no config.json"), (("config.json", "model.gguf"), "no weights")],
)
def test_repositories_that_cannot_be_served(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(Failure, match=words) as caught:
        select(files(*names), (), ())
    assert caught.value.exit_code == 20


ROOT = ("config.json", "model.safetensors", "tokenizer.json")


def test_an_adapter_is_no_model() -> None:
    with pytest.raises(
        Failure, match=r"an adapter \(adapter_config.json\), no model: serve it beside its base"
    ) as reported:
        select(files("adapter_config.json", "adapter_model.safetensors"), (), ())
    assert reported.value.reason is Reason.INVALID_REPOSITORY


@pytest.mark.parametrize(
    "names",
    [
        ("config.json", "adapter_config.json", "adapter_model.safetensors"),
        ("checkpoint-9/adapter_config.json", "checkpoint-9/adapter_model.safetensors"),
        ("config.json", "v0/checkpoint-9/adapter_config.json", "v0/checkpoint-9/adapter_model.bin"),
    ],
)
def test_an_adapter_is_one_wherever_it_lies(names: tuple[str, ...]) -> None:
    with pytest.raises(Failure, match="this is an adapter"):
        select(files(*names), (), ())


def test_an_adapter_beside_the_model_stays_out() -> None:
    chosen = select(files(*ROOT, "adapter_config.json", "adapter_model.safetensors"), (), ())
    assert paths(chosen) == [*ROOT, "adapter_config.json"]


def shards(stem: str, end: str, count: int, *numbers: int) -> list[str]:
    return [f"{stem}-{number:05}-of-{count:05}.{end}" for number in numbers]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (shards("model", "safetensors", 3, 1, 3), "1 shards.*missing: model-00002-of-00003.safetensors"),
        (shards("pytorch_model", "bin", 2, 2), "pytorch_model-00001-of-00002.bin"),
        (shards("model", "safetensors", 99999, 1), "9999 shards"),
    ],
)
def test_shards_that_the_others_name(names: list[str], words: str) -> None:
    with pytest.raises(Failure, match=words):
        select(files("config.json", *names), (), ())


@pytest.mark.parametrize(
    "names",
    [
        shards("model", "safetensors", 2, 1, 2),
        [*shards("model", "safetensors", 3, 1), "model.safetensors.index.json"],
        ["model.safetensors", *shards("pytorch_model", "bin", 2, 2)],
    ],
)
def test_shards_that_are_all_there_or_not_loaded(names: list[str]) -> None:
    assert select(files("config.json", *names), ("*",), ())


def test_training_checkpoints_beside_the_model_stay_out() -> None:
    left = ("checkpoint-500/config.json", "checkpoint-500/model.safetensors", "run [1]/pytorch_model.bin", "run [1]/x")
    chosen = select(files(*ROOT, *left, "docs/notes.md"), (), ())
    assert paths(chosen) == [*ROOT, "docs/notes.md"]
    assert [f.path for f in chosen if f.is_weights] == ["model.safetensors"]


def test_modules_of_sentence_transformers_are_part_of_the_model() -> None:
    modules = ("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors")
    assert paths(select(files(*ROOT, *modules), (), ())) == [*ROOT, *modules]


def test_a_user_may_ask_for_what_stays_out() -> None:
    assert paths(select(files(*ROOT, "sub/model.safetensors"), ("*",), ())) == [*ROOT, "sub/model.safetensors"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("run-1/config.json", "run-1/model.safetensors"), "no config.json.*at its root.*weights in run-1: publish"),
        (("config.json", "checkpoint-9/model.safetensors"), "no weights.*at its root.*weights in checkpoint-9"),
        (("config.json", "Qwen3-8B-Q4_K_M.gguf"), "no weights.*GGUF repository: take the safetensors"),
        (("Qwen3-8B-Q4_K_M.gguf",), "no config.json.*GGUF repository"),
    ],
)
def test_what_a_repository_is_instead(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(Failure, match=words):
        select(files(*names), (), ())


def test_newest_commit() -> None:
    entries = [
        entry("a", Revision="1" * 40, CommittedDate=10),
        entry("b", Revision="2" * 40, CommittedDate=30),
        entry("c", Revision="3" * 40, CommittedDate=20),
    ]
    assert newest_commit(entries) == "2" * 40
    assert newest_commit([entry("a"), entry("b", Revision="master")]) == ""
    dated = [{**it, "CommittedDate": "2026-01-01T00:00:00Z"} for it in entries[:1]]
    assert newest_commit([*dated, *entries[1:]]) == "2" * 40 and newest_commit(dated) == "1" * 40


def test_digest_names_the_content() -> None:
    one, other = files("a", "b"), (RemoteFile("a", 3, SHA), RemoteFile("b", 4, SHA))
    assert digest(one) == digest(files("a", "b")) != digest(other)
    assert digest(one).startswith("sha256:") and len(digest(one)) == 71

"""Look-up by id."""

from __future__ import annotations

import pytest

from qwen3_operator.catalog import CatalogEntry, ModelFacts, known_ids, lookup, not_served_reason, resolve, suggest
from qwen3_operator.engine.version import EngineVersion


def entry(model_id: str) -> CatalogEntry:
    found = lookup(model_id)
    assert found is not None, model_id
    return found


ALL = [pytest.param(entry(model_id), id=model_id) for model_id in known_ids()]


def test_the_whole_family_is_there() -> None:
    dense = [f"Qwen/Qwen3-{size}B" for size in ("0.6", "1.7", "4", "8", "14", "32")]
    expected = {
        *dense,
        *(f"{model_id}-FP8" for model_id in dense),
        *(f"Qwen/Qwen3-{size}B-AWQ" for size in (4, 8, 14, 32)),
        *(f"Qwen/Qwen3-{size}B-Base" for size in ("0.6", "1.7", "4", "8", "14")),
        *(f"Qwen/Qwen3-{size}B-GPTQ-Int8" for size in ("0.6", "1.7")),
        *(f"Qwen/Qwen3-{size}-GPTQ-Int4" for size in ("30B-A3B", "235B-A22B")),
        *(
            f"Qwen/Qwen3-{size}-{kind}-2507{suffix}"
            for size in ("4B", "30B-A3B", "235B-A22B")
            for kind in ("Instruct", "Thinking")
            for suffix in ("", "-FP8")
        ),
        "Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8",
        "Qwen/Qwen3-Coder-Next-FP8",
        "Qwen/Qwen3-Next-80B-A3B-Thinking-FP8",
        "Qwen/Qwen3-VL-235B-A22B-Thinking-FP8",
        "Qwen/Qwen3-Omni-30B-A3B-Captioner",
        *(f"Qwen/Qwen3-{kind}-{size}B" for kind in ("Embedding", "Reranker") for size in ("0.6", "4", "8")),
        "Qwen/Qwen3.5-397B-A17B-GPTQ-Int4",
        "Qwen/Qwen3.6-35B-A3B-FP8",
        "Qwen/Qwen3.8-Flash-Next-FP8",
    }
    assert expected <= set(known_ids())


@pytest.mark.parametrize("row", ALL)
def test_every_row_is_consistent(row: CatalogEntry) -> None:
    assert row.source, "provenance"
    floor = EngineVersion.of(row.floor_version)
    for table in (row.reasoning_parsers, row.tool_call_parsers, row.mtp_methods):
        assert all(EngineVersion.parse(since) for since in table)
    if row.thinking in ("hybrid", "thinking"):
        assert any(EngineVersion.of(since) <= floor for since in row.reasoning_parsers)
        assert row.sampling(thinking=True) is not None or row.group.startswith("omni")
    else:
        assert not row.reasoning_parsers, "with a parser the whole answer of a model that never thinks is reasoning"
    assert row.extended_length >= row.native_length
    if row.facts is not None:
        assert row.facts.max_position_embeddings >= row.native_length
        assert row.facts.weights_bytes == row.weights_bytes
    assert (row.task == "rerank") == bool(row.hf_overrides)


@pytest.mark.parametrize(
    ("model_id", "thinking", "native", "extended", "floor"),
    [
        ("Qwen/Qwen3-8B", "hybrid", 32768, 131072, "0.8.5"),
        ("Qwen/Qwen3-8B-Base", "none", 32768, 32768, "0.8.5"),
        ("Qwen/Qwen3-4B-Instruct-2507", "none", 262144, 262144, "0.8.5"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507-FP8", "thinking", 262144, 262144, "0.8.5"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "none", 262144, 1048576, "0.10.0"),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", "thinking", 262144, 1010000, "0.10.2"),
        ("Qwen/Qwen3-VL-8B-Instruct", "none", 262144, 1010000, "0.11.0"),
        ("Qwen/Qwen3.5-27B", "hybrid", 262144, 1010000, "0.17.0"),
        ("Qwen/Qwen3.8-Flash-Next", "hybrid", 262144, 1010000, "0.29.0"),
    ],
)
def test_how_groups_are_served(model_id: str, thinking: str, native: int, extended: int, floor: str) -> None:
    row = entry(model_id)
    assert (row.thinking, row.native_length, row.extended_length, row.floor_version) == (
        thinking,
        native,
        extended,
        floor,
    )


def test_sampling_of_the_hybrid_models() -> None:
    row = entry("Qwen/Qwen3-8B")
    thinking, plain = row.sampling(thinking=True), row.sampling(thinking=False)
    assert thinking is not None
    assert plain is not None
    assert thinking.generation_config() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0}
    assert plain.generation_config() == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0}


def test_presence_penalty_is_no_server_default() -> None:
    sampling = entry("Qwen/Qwen3.5-27B").sampling(thinking=True)
    assert sampling is not None
    assert sampling.presence_penalty == 1.5
    assert "presence_penalty" not in sampling.generation_config()


def test_small_qwen35_does_not_think_by_default() -> None:
    assert not entry("Qwen/Qwen3.5-0.8B").thinks_by_default
    assert entry("Qwen/Qwen3.5-9B").thinks_by_default


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8-B", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-30B-A3B-Instruct2507", "Qwen/Qwen3-30B-A3B-Instruct-2507"),
        ("Qwen/Qwen3-8B", None),
        ("somebody/another-model", None),
    ],
)
def test_suggestions(written: str, meant: str | None) -> None:
    assert suggest(written) == meant


def test_ids_are_case_sensitive() -> None:
    assert lookup("qwen/qwen3-8b") is None


def test_what_vllm_does_not_serve_is_reported() -> None:
    assert "vLLM does not serve" in (not_served_reason("Qwen/Qwen3-TTS-12Hz-1.7B-Base") or "")
    assert not_served_reason("Qwen/Qwen3-8B") is None


def test_the_real_config_replaces_the_catalogue() -> None:
    real = ModelFacts.from_config(
        {
            "model_type": "qwen3",
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 586,
            "max_position_embeddings": 40960,
        },
        757720,
    )
    row = resolve("Qwen/Qwen3-8B", real)
    assert row is not None
    assert row.known
    assert row.facts == real
    assert row.weights_bytes == 757720


def test_what_a_small_report_leaves_out_is_the_catalogue_s() -> None:
    known = entry("Qwen/Qwen3.5-27B").facts
    assert known is not None
    report = known.model_copy(update={"vision": None, "mtp_layers": 0})
    row = resolve("Qwen/Qwen3.5-27B", report)
    assert row is not None
    assert row.facts == known


def test_a_quantized_copy_by_somebody_else_is_served_as_its_original() -> None:
    row = resolve("tclf90/Qwen3-30B-A3B-Thinking-2507-AWQ")
    assert row is not None
    assert (row.known, row.group, row.facts, row.weights_bytes) == (False, "thinking-2507", None, None)


def test_a_mirror_of_a_known_name_is_served_as_its_original() -> None:
    row = resolve("unsloth/Qwen3-8B")
    assert row is not None
    assert (row.known, row.group, row.weights_bytes) == (False, "hybrid", 16381470720)


def test_an_unknown_model_works_from_its_config() -> None:
    facts = entry("Qwen/Qwen3-14B").facts
    assert facts is not None
    assert resolve("me/my-finetune") is None
    row = resolve("me/my-finetune", facts)
    assert row is not None
    assert (row.known, row.thinking, row.task, row.native_length) == (False, "unknown", "generate", 40960)


def test_a_name_alone_does_not_make_a_model() -> None:
    """A repository that calls itself Qwen3-8B and holds something else is judged by its config.json."""
    other = entry("Qwen/Qwen3-0.6B").facts
    row = resolve("me/Qwen3-8B", other)
    assert row is not None
    assert row.group == "unknown"

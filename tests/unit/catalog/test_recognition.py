"""Which entry a checkpoint has that the catalogue does not name: by its name's end, its architecture, its template."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.catalog import CatalogEntry, ModelFacts, lookup, resolve
from qwen3_operator.engine.parsers import choose_reasoning_parser, choose_tool_parser
from qwen3_operator.engine.version import NEWEST_KNOWN, EngineVersion


def facts(template: dict[str, Any] | None = None, name: str = "Qwen/Qwen3-8B", **files: Any) -> ModelFacts:
    """Facts of a checkpoint of the shape of `name`, with this record of its chat template."""
    known = lookup(name)
    assert known is not None and known.facts is not None
    recorded = files | ({"template": template} if template else {})
    config = {
        "architectures": list(known.facts.architectures),
        "model_type": known.facts.model_type,
        "hidden_size": known.facts.hidden_size,
        "num_hidden_layers": known.facts.num_layers,
        "num_attention_heads": known.facts.num_attention_heads,
        "vocab_size": known.facts.vocab_size,
        "max_position_embeddings": known.facts.max_position_embeddings,
    }
    return ModelFacts.from_config(config, None, recorded)


def entry(model_id: str, known: ModelFacts | None = None, **more: Any) -> CatalogEntry:
    found = resolve(model_id, known, **more)
    assert found is not None
    return found


HYBRID = {"thinks": "switchable", "byDefault": True, "tools": "json"}


@pytest.mark.parametrize(
    ("template", "reasoning", "tools"),
    [
        (HYBRID, "qwen3", "hermes"),
        ({"thinks": "always", "tools": "json"}, "qwen3", "hermes"),
        ({"thinks": "never", "tools": "xml"}, None, "qwen3_coder"),
        ({"tools": "json"}, None, "hermes"),
        ({"thinks": "always", "tools": "other"}, "qwen3", None),
        ({"thinks": "never", "tools": "none"}, None, None),
    ],
)
def test_a_fine_tune_is_served_as_its_template_says(
    template: dict[str, Any], reasoning: str | None, tools: str | None
) -> None:
    row = entry("acme/support-bot", facts(template))
    auto = choose_reasoning_parser("auto", row, NEWEST_KNOWN)
    called = choose_tool_parser("auto", row, NEWEST_KNOWN)
    assert (auto.parser, called.parser) == (reasoning, tools)
    if template.get("thinks"):
        assert "by its chat template" in auto.reason
    assert "chat template" in called.reason
    assert choose_reasoning_parser("auto", row, EngineVersion.of("0.8.5")).parser in (None, "deepseek_r1")


def test_a_copy_whose_template_has_other_tool_calls_gets_no_parser_of_its_original() -> None:
    """Salesforce's xLAM writes a JSON list, MiroThinker <use_mcp_tool>: hermes would read neither."""
    row = entry("acme/Qwen3-8B-AWQ", facts({"tools": "other"}))
    choice = choose_tool_parser("auto", row, NEWEST_KNOWN)
    assert choice.parser is None and "name the parser" in choice.reason
    assert choose_tool_parser("xlam", row, NEWEST_KNOWN).problems == ()


def test_a_template_goes_before_a_name() -> None:
    row = entry("acme/Qwen3-8B-AWQ", facts({"thinks": "never", "tools": "json"}))
    assert (row.group, row.thinking, row.known_by) == ("hybrid", "none", "template")


def test_a_base_model_carries_the_template_of_its_sibling() -> None:
    row = entry("Qwen/Qwen3-8B-Base", facts(HYBRID))
    assert (row.thinking, row.tool_call_parsers, row.known_by) == ("none", {}, "catalogue")


def test_what_a_template_does_not_say_is_the_catalogues() -> None:
    row = entry("Qwen/Qwen3-8B", facts({"tools": "json"}))
    assert (row.thinking, row.known_by) == ("hybrid", "catalogue")


def test_a_doubtful_parser_is_no_error_where_only_the_template_speaks() -> None:
    row = entry("acme/thinks-by-itself", facts({"thinks": "never", "tools": "json"}))
    for choice in (choose_reasoning_parser("qwen3", row, NEWEST_KNOWN), choose_tool_parser("xlam", row, NEWEST_KNOWN)):
        (problem,) = choice.problems
        assert problem.severity == "warning"


@pytest.mark.parametrize("name", ["Qwen3-8B-medical", "Qwen3-32Bit", "MyQwen3-8B-AWQ", "Qwen3-8B-v2-chat"])
def test_other_words_of_a_name_make_it_another_model(name: str) -> None:
    assert resolve(f"acme/{name}") is None


def test_the_longest_name_is_the_original() -> None:
    assert entry("acme/Qwen3-8B-Base-AWQ").group == "base"
    assert entry("acme/qwen3-30b-a3b-thinking-2507-mlx-gs64-4bit".replace("-mlx", "")).group == "thinking-2507"


def test_modules_of_sentence_transformers_make_an_embedder() -> None:
    assert entry("acme/legal", facts(modules=["Transformer", "Pooling", "Normalize"])).task == "embed"
    assert entry("acme/legal", facts(modules=["Transformer"])).task == "generate"


def test_the_user_says_what_it_is_for() -> None:
    row = entry("acme/ranks", facts(HYBRID), task="rerank")
    assert (row.task, row.thinking, row.tool_call_parsers) == ("rerank", "none", {})
    assert row.hf_overrides["classifier_from_token"] == ["no", "yes"]
    assert entry("Qwen/Qwen3-Embedding-8B", None, task="generate").task == "generate"


def test_tensors_that_vllm_does_not_load_do_not_count() -> None:
    tensors = {"model": {"BF16": 100, "F32": 4}, "mtp": {"BF16": 50}, "talker": {"BF16": 7}, "lm_head": {"BF16": 10}}
    assert facts(tensors=tensors).loaded_bytes == 114
    assert facts(tensors={"model": {"F32": 100}}).loaded_bytes == 50
    assert facts(tensors={"model": {"BF16": "much"}}).loaded_bytes is None


def test_a_tied_head_is_stored_by_some_and_loaded_by_none() -> None:
    config = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "vocab_size": 9}
    config |= {"max_position_embeddings": 5, "tie_word_embeddings": True}
    found = ModelFacts.from_config(config, None, {"tensors": {"model": {"BF16": 100}, "lm_head": {"BF16": 10}}})
    assert found.loaded_bytes == 100

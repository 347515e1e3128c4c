"""Which parser a checkpoint gets, and which are refused."""

from __future__ import annotations

import pytest

from qwen3_operator.catalog import CatalogEntry, lookup, resolve
from qwen3_operator.engine.parsers import by_version, choose_reasoning_parser, choose_tool_parser, parser_names
from qwen3_operator.engine.version import EngineVersion

NEW = EngineVersion.of("0.33.0")


def entry(name: str) -> CatalogEntry:
    found = lookup(f"Qwen/{name}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "version", "reasoning", "tool"),
    [
        ("Qwen3-8B", "0.8.5", "deepseek_r1", "hermes"),
        ("Qwen3-8B", "0.9.0", "qwen3", "hermes"),
        ("Qwen3-8B", "0.33.0", "qwen3", "hermes"),
        ("Qwen3-8B", "0.99.0", "qwen3", "hermes"),
        ("Qwen3-8B-Base", "0.33.0", None, None),
        ("Qwen3-4B-Instruct-2507", "0.33.0", None, "hermes"),
        ("Qwen3-4B-Thinking-2507", "0.33.0", "qwen3", "hermes"),
        ("Qwen3-Coder-30B-A3B-Instruct", "0.33.0", None, "qwen3_coder"),
        ("Qwen3-Coder-30B-A3B-Instruct", "0.9.2", None, None),
        ("Qwen3-Next-80B-A3B-Thinking", "0.33.0", "qwen3", "hermes"),
        ("Qwen3.5-27B", "0.33.0", "qwen3", "qwen3_coder"),
        ("Qwen3.8-Flash-Next", "0.33.0", "qwen3", "qwen3_xml"),
        ("Qwen3-Embedding-8B", "0.33.0", None, None),
        ("Qwen3-Reranker-8B", "0.33.0", None, None),
    ],
)
def test_auto(name: str, version: str, reasoning: str | None, tool: str | None) -> None:
    release = EngineVersion.of(version)
    for choice, expected in (
        (choose_reasoning_parser("auto", entry(name), release), reasoning),
        (choose_tool_parser("auto", entry(name), release), tool),
    ):
        assert choice.parser == expected
        assert choice.reason
        assert choice.source == "catalogue"
        assert choice.problems == ()
        if expected is not None:
            assert expected in (*parser_names("reasoning", release), *parser_names("tool", release))


@pytest.mark.parametrize(
    ("parser", "name", "version", "reason", "says"),
    [
        ("qwen3", "Qwen3-4B-Instruct-2507", "0.33.0", "ReasoningParserUnsuitable", "content is null"),
        ("qwen33", "Qwen3-8B", "0.33.0", "UnknownReasoningParser", "did you mean qwen3?"),
        ("qwen3", "Qwen3-8B", "0.8.5", "UnknownReasoningParser", "it came with 0.9.0"),
        ("glm4_moe", "Qwen3-8B", "0.33.0", "UnknownReasoningParser", "it was removed in 0.10.1"),
        ("granite", "Qwen3-8B", "0.33.0", "ReasoningParserUnsuitable", "use auto (qwen3)"),
        ("qwen3", "Qwen3-Embedding-8B", "0.33.0", "ReasoningParserNotApplicable", "does not generate text"),
    ],
)
def test_reasoning_parsers_that_are_refused(parser: str, name: str, version: str, reason: str, says: str) -> None:
    (problem,) = choose_reasoning_parser(parser, entry(name), EngineVersion.of(version)).problems
    assert (problem.reason, problem.severity, problem.field) == (reason, "error", "spec.engine.reasoningParser")
    assert says in problem.message


def test_deepseek_r1_on_a_hybrid_model_is_doubtful() -> None:
    (problem,) = choose_reasoning_parser("deepseek_r1", entry("Qwen3-8B"), NEW).problems
    assert problem.severity == "warning"
    assert choose_reasoning_parser("deepseek_r1", entry("Qwen3-4B-Thinking-2507"), NEW).problems == ()


@pytest.mark.parametrize(
    ("parser", "name", "version", "reason"),
    [
        ("hermes", "Qwen3-Coder-30B-A3B-Instruct", "0.33.0", "ToolCallParserUnsuitable"),
        ("qwen3_coder", "Qwen3-8B", "0.33.0", "ToolCallParserUnsuitable"),
        ("nope", "Qwen3-8B", "0.33.0", "UnknownToolCallParser"),
        ("qwen3_json", "Qwen3-8B", "0.31.0", "UnknownToolCallParser"),
        ("hermes", "Qwen3-Reranker-8B", "0.33.0", "ToolCallParserNotApplicable"),
    ],
)
def test_tool_parsers_that_are_refused(parser: str, name: str, version: str, reason: str) -> None:
    (problem,) = choose_tool_parser(parser, entry(name), EngineVersion.of(version)).problems
    assert (problem.reason, problem.field) == (reason, "spec.engine.toolCallParser")


@pytest.mark.parametrize(
    ("parser", "name"),
    [("qwen3_json", "Qwen3-8B"), ("qwen3_xml", "Qwen3.5-27B"), ("qwen3_coder", "Qwen3.8-Flash-Next")],
)
def test_other_names_of_the_same_format_are_fine(parser: str, name: str) -> None:
    assert choose_tool_parser(parser, entry(name), NEW).problems == ()


def test_none_is_always_allowed() -> None:
    for name in ("Qwen3-8B", "Qwen3-4B-Instruct-2507", "Qwen3-Embedding-8B"):
        choice = choose_reasoning_parser("none", entry(name), NEW)
        assert (choice.parser, choice.problems, choice.source) == (None, (), "spec")
        assert choose_tool_parser("none", entry(name), NEW).parser is None


def test_a_plugin_adds_names() -> None:
    assert choose_reasoning_parser("mine", entry("Qwen3-8B"), NEW, has_plugin=True).problems == ()
    assert choose_tool_parser("mine", entry("Qwen3-8B"), NEW, has_plugin=True).problems == ()


def test_an_unknown_model_gets_no_parser_by_itself_and_any_by_name() -> None:
    row = resolve("me/finetune", entry("Qwen3-8B").facts)
    assert row is not None
    auto = choose_reasoning_parser("auto", row, NEW)
    assert auto.parser is None
    assert "neither the catalogue nor a chat template tells" in auto.reason
    assert choose_reasoning_parser("qwen3", row, NEW).problems == ()
    assert choose_tool_parser("hermes", row, NEW).problems == ()


def test_by_version_takes_the_newest_that_is_reached() -> None:
    table = {"0.11.0": "new", "0.9.0": "old"}
    assert by_version(table, EngineVersion.of("0.8.5")) is None
    assert by_version(table, EngineVersion.of("0.10.0")) == "old"
    assert by_version(table, EngineVersion.of("0.11.0")) == "new"

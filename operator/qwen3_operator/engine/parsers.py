"""Reasoning and tool-call parsers: which one a checkpoint needs in a vLLM release, and which would do harm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import CatalogEntry
from qwen3_operator.engine.flag_table import effective
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion

REASONING_FIELD = "spec.engine.reasoningParser"
TOOL_FIELD = "spec.engine.toolCallParser"

_SAME_TOOL_PARSERS = ({"hermes", "qwen3_json"}, {"qwen3_coder", "qwen3_xml"})
"""Names of one format: JSON inside <tool_call>, and XML."""

_THINK_TAG_PARSERS = {"qwen3", "deepseek_r1"}
"""Reasoning parsers that read Qwen3's <think> tags."""


@dataclass(frozen=True)
class ParserChoice:
    """The parser to render (None: no parser) and why."""

    parser: str | None
    reason: str
    source: Literal["spec", "catalogue"] = "catalogue"
    problems: tuple[Problem, ...] = ()


@cache
def _names() -> Mapping[tuple[str, str], tuple[EngineVersion | None, EngineVersion | None]]:
    text = resources.files("qwen3_operator.engine").joinpath("parsers.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith(("#", "kind"))]
    return {(kind, name): (EngineVersion.parse(since), EngineVersion.parse(gone)) for kind, name, since, gone in rows}


def parser_names(kind: Literal["reasoning", "tool"], version: EngineVersion) -> tuple[str, ...]:
    """The parsers of one kind that a release knows, sorted."""
    release = effective(version)
    return tuple(
        sorted(
            name
            for (known_kind, name), (since, gone) in _names().items()
            if known_kind == kind and (since is None or release >= since) and (gone is None or release < gone)
        )
    )


def by_version(table: Mapping[str, str], version: EngineVersion) -> str | None:
    """The value of the newest release in ``table`` (first release -> value) that is not newer than ``version``."""
    release = effective(version)
    reached = [(since, value) for text, value in table.items() if (since := EngineVersion.of(text)) <= release]
    return max(reached, key=lambda pair: pair[0])[1] if reached else None


def choose_reasoning_parser(
    requested: str, entry: CatalogEntry, version: EngineVersion, *, has_plugin: bool = False
) -> ParserChoice:
    """``requested``: ``auto``, ``none`` or a parser's name. ``has_plugin``: --reasoning-parser-plugin adds names."""
    if requested == "none":
        stays = "; the <think> text stays in the content" if entry.thinking in ("hybrid", "thinking") else ""
        return ParserChoice(None, f"switched off in the spec{stays}", "spec")
    if requested == "auto":
        return _auto_reasoning(entry, version)
    problem = _unknown_parser("reasoning", requested, version, REASONING_FIELD, has_plugin)
    problem = problem or _unsuitable_reasoning(requested, entry, version)
    return ParserChoice(requested, "set in the spec", "spec", (problem,) if problem else ())


def _auto_reasoning(entry: CatalogEntry, version: EngineVersion) -> ParserChoice:
    if entry.task != "generate":
        return ParserChoice(None, f"{entry.id} does not generate text")
    if entry.thinking == "unknown":
        return ParserChoice(
            None, f"neither the catalogue nor a chat template tells whether {entry.id} thinks; name one if it does"
        )
    if entry.thinking == "none":
        return ParserChoice(None, f"{_who(entry)} never thinks: with a parser its whole answer would become reasoning")
    parser = by_version(entry.reasoning_parsers, version)
    if parser is None:
        return ParserChoice(None, f"vLLM {version} has no parser for {entry.id}")
    mode = "thinks unless told not to" if entry.template_thinks_by_default else "thinks when it is asked to"
    mode = mode if entry.thinking == "hybrid" else "always thinks"
    return ParserChoice(parser, f"{_who(entry)} {mode}; vLLM {version} reads that with {parser}")


def _who(entry: CatalogEntry) -> str:
    """Who says so: the model is known, or its chat template was read."""
    return f"{entry.id}, by its chat template," if entry.known_by == "template" else entry.id


def _unsuitable_reasoning(parser: str, entry: CatalogEntry, version: EngineVersion) -> Problem | None:
    if entry.task != "generate":
        return Problem(
            Reason.REASONING_PARSER_NOT_APPLICABLE,
            f"{entry.id} does not generate text, so reasoningParser {parser!r} has nothing to read: remove the field",
            REASONING_FIELD,
        )
    if entry.thinking == "none":
        return Problem(
            Reason.REASONING_PARSER_UNSUITABLE,
            f"{_who(entry)} never thinks: with reasoningParser {parser!r} vLLM returns its whole answer as reasoning "
            "and content is null; use auto or none",
            REASONING_FIELD,
            "error" if entry.known_by == "catalogue" else "warning",  # a fine-tune may think without its template
        )
    if entry.thinking == "unknown":
        return None
    best = by_version(entry.reasoning_parsers, version)
    if parser not in _THINK_TAG_PARSERS and parser in {name for kind, name in _names() if kind == "reasoning"}:
        return Problem(
            Reason.REASONING_PARSER_UNSUITABLE,
            f"reasoningParser {parser!r} does not read the <think> tags of {entry.id}; use auto ({best or 'none'})",
            REASONING_FIELD,
        )
    if entry.thinking == "hybrid" and parser == "deepseek_r1" and best == "qwen3":
        return Problem(
            Reason.REASONING_PARSER_DOUBTFUL,
            f"with reasoningParser 'deepseek_r1' a request to {entry.id} that turns thinking off gets its whole answer "
            "as reasoning and content is null; auto (qwen3) handles both",
            REASONING_FIELD,
            "warning",
        )
    return None


def choose_tool_parser(
    requested: str, entry: CatalogEntry, version: EngineVersion, *, has_plugin: bool = False
) -> ParserChoice:
    """``requested``: ``auto``, ``none`` or a parser's name. ``has_plugin``: --tool-parser-plugin adds names."""
    fitting = by_version(entry.tool_call_parsers, version)
    if requested == "none":
        return ParserChoice(None, "switched off in the spec", "spec")
    if requested == "auto":
        if fitting is None:
            return ParserChoice(None, _without_tools(entry))
        return ParserChoice(fitting, f"{_who(entry)} writes tool calls that vLLM {version} reads with {fitting}")
    problem = _unknown_parser("tool", requested, version, TOOL_FIELD, has_plugin)
    problem = problem or _unsuitable_tool(requested, entry, fitting, has_plugin)
    return ParserChoice(requested, "set in the spec", "spec", (problem,) if problem else ())


def _without_tools(entry: CatalogEntry) -> str:
    tools = entry.facts.template.tools if entry.facts and entry.facts.template else None
    if entry.task != "generate":
        return f"{entry.id} does not generate text"
    if tools == "none":
        return f"the chat template of {entry.id} tells the model of no tool"
    if tools == "other":
        return f"by its chat template {entry.id} writes tool calls in a form of its own: name the parser that reads it"
    return f"{entry.id} has no tool-call format that is known"


def _unsuitable_tool(parser: str, entry: CatalogEntry, fitting: str | None, has_plugin: bool) -> Problem | None:
    if entry.task != "generate":
        return Problem(
            Reason.TOOL_CALL_PARSER_NOT_APPLICABLE,
            f"{entry.id} does not generate text, so toolCallParser {parser!r} has nothing to read: remove the field",
            TOOL_FIELD,
        )
    if fitting is None or has_plugin:
        return None
    if any(fitting in same and parser in same for same in _SAME_TOOL_PARSERS) or parser == fitting:
        return None
    return Problem(
        Reason.TOOL_CALL_PARSER_UNSUITABLE,
        f"toolCallParser {parser!r} does not read the tool calls that {_who(entry)} writes; use auto ({fitting})",
        TOOL_FIELD,
        "error" if entry.known_by == "catalogue" else "warning",
    )


def _unknown_parser(
    kind: Literal["reasoning", "tool"], parser: str, version: EngineVersion, field: str, has_plugin: bool
) -> Problem | None:
    known = parser_names(kind, version)
    if has_plugin or parser in known:
        return None
    since, gone = _names().get((kind, parser), (None, None))
    if since is not None and effective(version) < since:
        hint = f"it came with {since}"
    elif gone is not None:
        hint = f"it was removed in {gone}"
    else:
        close = difflib.get_close_matches(parser, [*known, "auto", "none"], n=1)
        hint = f"did you mean {close[0]}?" if close else "use auto"
    reason = Reason.UNKNOWN_REASONING_PARSER if kind == "reasoning" else Reason.UNKNOWN_TOOL_CALL_PARSER
    return Problem(reason, f"vLLM {version} has no {kind} parser {parser!r}: {hint}", field)

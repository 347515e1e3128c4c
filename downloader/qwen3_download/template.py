"""What a chat template does: whether it thinks, and how it has tool calls written. Nothing of it is executed.

A template is a program of whoever owns the repository, and this one runs beside the hub's token: a full Jinja, even a
sandboxed one, is more than two questions need. What decides thinking is the end of every Qwen template, the branch
`if add_generation_prompt` that opens the answer. Its literals are rendered here three times, with enable_thinking
unset, true and false; a condition of another kind makes the answer unknown, never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST = 512 * 1024
"""Characters; Qwen's longest template has 9,000."""
_MOST_TAGS = 256
_LONGEST_CONDITION = 500

_OPENS, _CLOSES = re.compile(r"\{[%{#]"), {"{%": "%}", "{{": "}}", "{#": "#}"}
_KINDS = {"{%": "tag", "{{": "print", "{#": "comment"}
_LITERAL = re.compile(r"'([^']{0,2000})'|\"([^\"]{0,2000})\"")
_ONE_TERM = re.compile(r"\(\s*((?:(?!\band\b|\bor\b)[^()]){1,200})\)")
_OPENS_ANSWER = re.compile(r"if\s+add_generation_prompt\b")
_TERM = re.compile(
    r"(?P<negated>not\s+)?(?P<name>\w+)(?:\s+is\s+(?P<is_not>not\s+)?(?P<test>defined|undefined|true|false|none|True|False)"
    r"|\s*==\s*(?P<equals>true|false|True|False))?"
)
UNSET = None
Context = Mapping[str, bool | None]


class _Unknown(Exception):
    """The branch depends on what this reader does not know."""


def describe(template: str) -> dict[str, Any]:
    """{"thinks": "always" | "never" | "switchable", "byDefault": bool, "tools": "json" | "xml"}, each only where it is
    known; {} without a template."""
    if not template or len(template) > LONGEST:
        return {}
    found: dict[str, Any] = {}
    if "<function=" in template:
        found["tools"] = "xml"
    elif "<tool_call>" in template:
        found["tools"] = "json"
    try:
        unset, on, off = (opens_thinking(template, value) for value in (UNSET, True, False))
    except _Unknown:
        return found
    if on == off:
        return found | {"thinks": "always" if on else "never"}
    return found | ({"thinks": "switchable", "byDefault": unset} if on else {})


def opens_thinking(template: str, enable_thinking: bool | None) -> bool:
    """Whether the answer begins inside <think>, or thinks by itself because nothing closes it in advance.

    Hybrid Qwen3 writes nothing when it is to think and an empty <think></think> when it is not. A template that opens
    no <think> and reads no enable_thinking is one of a model that does not think; unless it takes thoughts out of
    earlier answers, as those of models do that open <think> themselves: then nobody knows. Raises _Unknown.
    """
    context = {"add_generation_prompt": True, "enable_thinking": enable_thinking}
    opening = "".join(_render(_answer_branch(template), context))
    if "</think>" in opening:
        return False
    if "<think>" in opening or "enable_thinking" in template:
        return True
    if "</think>" in template:
        raise _Unknown
    return False


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """(kind, content): text, tag, print or comment, in order; what is opened and not closed ends it."""
    position = 0
    while opening := _OPENS.search(template, position):
        close = template.find(_CLOSES[opening[0]], opening.end())
        if close < 0:
            return
        yield "text", template[position : opening.start()]
        yield _KINDS[opening[0]], template[opening.end() : close].strip("-").strip()
        position = close + 2


def _answer_branch(template: str) -> list[tuple[str, str]]:
    """The pieces of the last `if add_generation_prompt`, from its `if` to its `endif`. Raises _Unknown."""
    pieces = list(_pieces(template))
    begins = [n for n, (kind, content) in enumerate(pieces) if kind == "tag" and _OPENS_ANSWER.match(content)]
    depth = 0
    for length, (kind, content) in enumerate(pieces[begins[-1] :] if begins else [], 1):
        if kind == "tag":
            depth += content.startswith("if ") - (content == "endif")
        if not depth:
            return pieces[begins[-1] : begins[-1] + length]
        if length > _MOST_TAGS:
            break
    raise _Unknown


def _render(branch: list[tuple[str, str]], context: Context) -> Iterator[str]:
    """The literals of the branches that are taken. Raises _Unknown."""
    taken: list[tuple[bool, bool]] = []  # of each open `if`: this branch runs, one of its branches has run
    for kind, content in branch:
        outside = all(runs for runs, _ in taken[:-1])
        if kind == "tag" and content.startswith("if "):
            value = all(runs for runs, _ in taken) and _is_true(content[3:], context)
            taken.append((value, value))
        elif kind == "tag" and content.startswith("elif ") and taken:
            value = outside and not taken[-1][1] and _is_true(content[5:], context)
            taken[-1] = (value, taken[-1][1] or value)
        elif kind == "tag" and content == "else" and taken:
            taken[-1] = (not taken[-1][1], True)
        elif kind == "tag" and content == "endif" and taken:
            taken.pop()
        elif kind != "comment" and all(runs for runs, _ in taken):
            if kind == "tag":  # set, for, macro: whatever they make of it
                raise _Unknown
            yield content if kind == "text" else _literals(content)


def _literals(expression: str) -> str:
    return "".join(first or second for first, second in _LITERAL.findall(expression))


def _is_true(condition: str, context: Context) -> bool:
    """`and`, `or`, `not`, `is defined`, `is true` and `== true` of plain names. Raises _Unknown for anything else."""
    if len(condition) > _LONGEST_CONDITION:
        raise _Unknown
    parts = re.split(r"\bor\b", _ONE_TERM.sub(r"\1", condition))
    return any(all(_term(term, context) for term in re.split(r"\band\b", part)) for part in parts)


def _term(term: str, context: Context) -> bool:
    match = _TERM.fullmatch(term.strip())
    if match is None or match["name"] not in context:
        raise _Unknown
    value = context[match["name"]]
    test = match["test"] or match["equals"]
    if test is None:
        result = bool(value)
    elif test in ("defined", "undefined"):
        result = (value is not UNSET) == (test == "defined")
    elif test == "none":
        result = False  # unset is undefined, which is not None
    else:
        result = value is (test.lower() == "true")
    return result ^ bool(match["negated"]) ^ bool(match["is_not"])

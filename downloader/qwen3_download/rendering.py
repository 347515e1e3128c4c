"""What a chat template does, seen by rendering it: `python -m qwen3_download.rendering`, a process for one template.

The template comes on standard input, and what it does goes to standard output as JSON: see describe. It is a program of
whoever owns the repository. Beside the sandbox that transformers uses for it, this process opens nothing after its
start, has no variables of the environment, and ends when it takes too much: template.py starts it.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import re
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_WHEN_NEEDED = ("jinja2.debug", "encodings.unicode_escape", "html", "pprint", "textwrap")
"""What jinja2 imports when a template wants it, and nothing can be opened any more."""
_MEMORY = 512 * 2**20
"""Bytes of address space, Python's own 50 MiB among them; the Job's limit is 1 GiB."""

QUESTION = "How warm is it in Hangzhou?"
_THOUGHT = "a thought of an earlier turn"
_TOOL = {
    "type": "function",
    "function": {
        "name": "measure_warmth",
        "description": "Measures how warm it is.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of a city."}},
            "required": ["city"],
        },
    },
}
_NAME = "measure_warmth"
_FORMATS = {"xml": re.compile(r"<function="), "json": re.compile(r"<tool_call>\s*\{")}
_OF_THE_TOKENIZER = {"bos_token": "", "eos_token": "", "pad_token": "", "unk_token": ""}

Message = dict[str, Any]
Render = Callable[..., str | None]
"""Text of a conversation, with what a request may say beside it; None where the template fails."""


def describe(template: str) -> dict[str, Any]:
    """{"thinks": "always" | "never" | "switchable", "byDefault": bool, "tools": "json" | "xml" | "other" | "none"},
    each only where it is known."""
    try:
        compiled = _environment().from_string(template)
    except (TemplateError, RecursionError, ValueError, SyntaxError):
        return {}

    def render(messages: list[Message], **said: Any) -> str | None:
        context = _OF_THE_TOKENIZER | {"tools": None, "documents": None, "add_generation_prompt": True} | said
        return _render(compiled, messages, context)

    return _thinking(render) | _tools(render)


def _thinking(render: Render) -> dict[str, Any]:
    """By how the answer begins: with an open <think>, with one that is closed already, or with neither.

    Where a switch closes it, a beginning with neither thinks: hybrid Qwen3 opens <think> itself. Where nothing does, it
    is one of a model that does not think; unless the template knows thoughts in earlier answers, as those of models do
    that open <think> themselves: then nobody knows.
    """
    texts = [render([_user()], **said) for said in ({}, {"enable_thinking": True}, {"enable_thinking": False})]
    unset, on, off = (_beginning(text) for text in texts)
    if unset is None or on is None or off is None:
        return {}
    if on == off == "neither" and texts[1] != texts[2]:  # switched by words, such as a /no_think
        return {"thinks": "switchable", "byDefault": texts[0] == texts[1]}
    if on == off == "neither":
        return {} if _knows_thoughts(render) else {"thinks": "never"}
    if on == off:
        return {"thinks": "always" if on == "open" else "never"}
    thinking = {"open"} if "closed" not in (on, off) else {"open", "neither"}
    return {"thinks": "switchable", "byDefault": unset in thinking} if on in thinking and off not in thinking else {}


def _beginning(text: str | None) -> str | None:
    """ "open", "closed" or "neither"; None where the question is not in the text, so that nothing begins after it."""
    if text is None or QUESTION not in text:
        return None
    answer = text.rpartition(QUESTION)[2]
    opened, closed = answer.rfind("<think>"), answer.rfind("</think>")
    return "neither" if opened == closed else "open" if opened > closed else "closed"


def _knows_thoughts(render: Render) -> bool:
    inside, apart = _assistant(f"<think>\n{_THOUGHT}\n</think>\n\nWarm."), _assistant("Warm.")
    apart |= {"reasoning_content": _THOUGHT, "reasoning": _THOUGHT}
    with_inside, with_apart = (render([_user(), answer, _user()]) for answer in (inside, apart))
    return with_inside is None or _THOUGHT not in with_inside or (with_apart is not None and _THOUGHT in with_apart)


def _tools(render: Render) -> dict[str, Any]:
    """By the call of an earlier turn, and by what the template says about the form of a call."""
    prompt = render([_user()], tools=[_TOOL])
    calls = [_called(render, arguments) for arguments in ({"city": "Hangzhou"}, '{"city": "Hangzhou"}')]
    called = next((text for text in calls if text is not None), None)
    turn = called.rpartition(QUESTION)[2] if called else ""
    for text in (turn, prompt or ""):
        if found := next((name for name, pattern in _FORMATS.items() if pattern.search(text)), None):
            return {"tools": found}
    if prompt is None or called is None or QUESTION not in prompt:
        return {}
    return {"tools": "other" if _NAME in prompt or _NAME in turn else "none"}


def _called(render: Render, arguments: Any) -> str | None:
    """A conversation with a call. Templates want its arguments as a map or as text."""
    call = {"id": "call00001", "type": "function", "function": {"name": _NAME, "arguments": arguments}}
    result = {"role": "tool", "content": "21", "name": _NAME, "tool_call_id": "call00001"}
    return render([_user(), _assistant("") | {"tool_calls": [call]}, result], tools=[_TOOL])


def _user() -> Message:
    return {"role": "user", "content": QUESTION}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _render(compiled: Template, messages: list[Message], context: Mapping[str, Any]) -> str | None:
    for spelling in (messages, [m | {"content": [{"type": "text", "text": m["content"]}]} for m in messages]):
        # Whatever an expression of the template raises is the template's fault.
        with contextlib.suppress(Exception):
            return compiled.render(**context, messages=spelling)
    return None


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers has it (utils/chat_template_utils.py)."""
    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    found.filters["tojson"] = _to_json
    found.globals["raise_exception"] = _raise
    found.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return found


class _Generation(Extension):
    """{% generation %} marks what a training learns; it renders as what is in it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements up to the end of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, ensure_ascii: bool = False, **spelled: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **spelled)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _confine(seconds: int) -> None:
    """No file and no connection can be opened, no process started, and neither memory nor time be taken without end."""
    for module in _WHEN_NEEDED:
        importlib.import_module(module)
    limits = {
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: _MEMORY,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def main() -> None:
    """Describe the template of standard input."""
    template = sys.stdin.buffer.read().decode("utf-8", "replace")
    _confine(int(sys.argv[1]))
    found: dict[str, Any] = {}
    with contextlib.suppress(MemoryError):
        found = describe(template)
    os.write(sys.stdout.fileno(), json.dumps(found).encode())
    os._exit(0)


if __name__ == "__main__":
    main()

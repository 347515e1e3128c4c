"""What a chat template does, seen by rendering it: in a process that can do no harm, and takes only its share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen3_download.template import LONGEST, describe

JSON = '<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' + call.function.arguments | tojson + \'}'
XML = "<tool_call>\\n<function=' + call.function.name + '>"
OWN = "<use_mcp_tool>' + call.function.name + '"
STRIPPED = "(m.content or '').split('</think>')[-1]"


def chat(
    opening: str = "", reported: str = "{{ tools | tojson }}", call: str = JSON, content: str = "(m.content or '')"
) -> str:
    """A template: `reported` where tools are given, each `call` of a turn, and `opening` where the answer begins."""
    return (
        "{%- if tools %}<|im_start|>system\n" + reported + "<|im_end|>\n{% endif %}{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\\n' + " + content + " }}"
        "{% for call in m.tool_calls or [] %}{{ '" + call + "' }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n" + opening + "{% endif %}"
    )


def when(condition: str, opening: str, otherwise: str = "") -> str:
    return "{% if " + condition + " %}" + opening + "{% else %}" + otherwise + "{% endif %}"


OFF, ON = "enable_thinking is defined and not enable_thinking", "enable_thinking is defined and enable_thinking is true"
OPEN, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("opening", "said"),
    [
        pytest.param(when(OFF, CLOSED), {"thinks": "switchable", "byDefault": True}, id="Qwen3"),
        pytest.param(OPEN, {"thinks": "always"}, id="Thinking-2507"),
        pytest.param("", {"thinks": "never"}, id="Instruct-2507"),
        pytest.param(CLOSED, {"thinks": "never"}, id="closed for all"),
        pytest.param(when(ON, OPEN, CLOSED), {"thinks": "switchable", "byDefault": False}, id="Qwen3.5-0.8B"),
        pytest.param(when(OFF, CLOSED, OPEN), {"thinks": "switchable", "byDefault": True}, id="Qwen3.5"),
        pytest.param(when("enable_thinking", OPEN), {"thinks": "switchable", "byDefault": False}, id="opened if asked"),
        pytest.param(
            "{% set mode = 'off' if enable_thinking is false else 'on' %}" + when("mode == 'off'", CLOSED),
            {"thinks": "switchable", "byDefault": True},
            id="by a name of its own",
        ),
        pytest.param(
            "{% macro answer(thinks) %}{{ '<think>' if thinks else '' }}{% endmacro %}{{ answer(true) }}",
            {"thinks": "always"},
            id="by a macro",
        ),
        pytest.param(when("messages[-1].role != 'tool'", OPEN), {"thinks": "always"}, id="by the messages"),
        pytest.param(when(OFF, " /no_think"), {"thinks": "switchable", "byDefault": True}, id="switched by words"),
        pytest.param(when(OFF, OPEN, CLOSED), {}, id="a switch that does the contrary"),
        pytest.param("{# enable_thinking, </think> #}", {"thinks": "never"}, id="a comment"),
        pytest.param("{{ raise_exception('no') }}", {}, id="refuses the question"),
    ],
)
def test_whether_it_thinks(opening: str, said: dict[str, Any]) -> None:
    found = describe(chat(opening))
    assert {key: value for key, value in found.items() if key != "tools"} == said


@pytest.mark.parametrize(
    "content", [STRIPPED, "(m.content or '') ~ (m.reasoning_content or '')", "(m.content.split('</think>') | last)"]
)
def test_a_template_that_knows_thoughts_may_be_of_a_model_that_thinks_by_itself(content: str) -> None:
    assert "thinks" not in describe(chat(content=content))
    assert describe(chat(OPEN, content=content))["thinks"] == "always"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param({"call": JSON}, "json", id="Qwen3"),
        pytest.param({"call": XML}, "xml", id="Coder"),
        pytest.param({"call": XML, "reported": "No <tool_call>{...}: {{ tools }}"}, "xml", id="calls go before words"),
        pytest.param({"call": "", "reported": "<tool_call>\n<function=a>{{ tools }}"}, "xml", id="only described"),
        pytest.param({"call": OWN}, "other", id="a form of its own"),
        pytest.param(
            {"call": OWN, "content": "'' if '<tool_call>{' in m.content else m.content"}, "other", id="unsaid"
        ),
        pytest.param({"call": "", "reported": ""}, "none", id="shows no tool"),
        pytest.param({"call": "", "reported": "{# <tool_call>{<function= #}"}, "none", id="a comment"),
        pytest.param({"call": "' + call.function.arguments + '", "reported": ""}, "none", id="arguments as text"),
        pytest.param({"call": "{{", "reported": "{{ tools"}, None, id="no template"),
        pytest.param({"reported": "{{ raise_exception('no tools') }}"}, None, id="refuses tools"),
    ],
)
def test_how_it_has_tool_calls_written(parts: dict[str, str], said: str | None) -> None:
    assert describe(chat(**parts)).get("tools") == said


def test_what_transformers_knows_more_than_jinja() -> None:
    spoken = "{{ strftime_now('%Y') }}{% generation %}{% for m in messages %}{{ m.content }}{% continue %}{% endfor %}"
    spoken += "{% endgeneration %}{{ bos_token + '<think>' }}{{ {'a': 'é'} | tojson(ensure_ascii=False, indent=2) }}"
    assert describe(spoken)["thinks"] == "always"


def test_contents_may_be_wanted_in_parts() -> None:
    parts = "{% for m in messages %}{% for part in m.content %}{{ part.text + '\\n' }}{% endfor %}{% endfor %}<think>"
    assert describe(parts)["thinks"] == "always"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{{ messages", id="no end"),
        pytest.param("hello", id="no question"),
        pytest.param("x" * (LONGEST + 1), id="too long"),
        pytest.param("\ud800", id="no text"),
        pytest.param("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", id="endless"),
        pytest.param("{{ 9 ** (9 ** 9) }}", id="a number without end"),
        pytest.param("{{ 'x' * 10 ** 10 }}", id="more than the memory"),
        pytest.param("{{ '%1000000000d' % 1 }}", id="wide"),
        pytest.param("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", id="deep"),
        pytest.param("{{ ''.__class__.__mro__[1].__subclasses__() }}", id="a way out"),
        pytest.param("{{ messages.append(1) }}", id="changes what it is given"),
    ],
)
def test_no_template_takes_more_than_its_share(text: str) -> None:
    assert describe(text, cpu_seconds=1) == {}


@pytest.mark.parametrize(
    "act", ["open('/proc/self/environ')", "__import__('socket').socket()", "[0] * 10 ** 9", "__import__('os').pipe()"]
)
def test_the_process_can_open_nothing(act: str) -> None:
    text = f"import os, socket\nfrom qwen3_download import rendering\nrendering._confine(9)\n{act}\nprint('done')"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stdout
    assert "Too many open files" in done.stderr or "MemoryError" in done.stderr


def test_the_process_knows_no_secret_and_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a template had got out of its sandbox."""
    taken = tmp_path / "python"
    taken.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n" + 'exec yes \'{"thinks": "always", "tools": ["xml"]}\'\n')
    taken.chmod(0o755)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "a-secret")
    monkeypatch.setattr(sys, "executable", str(taken))
    assert describe("{{ messages }}") == {}
    assert "a-secret" not in (tmp_path / "env").read_text()
    taken.write_text('#!/bin/sh\necho \'{"thinks": "always", "byDefault": "no", "tools": ["xml"], "more": 1}\'\n')
    assert describe("{{ messages }}") == {"thinks": "always"}
    monkeypatch.setattr(sys, "executable", os.devnull)
    assert describe("{{ messages }}") == {}

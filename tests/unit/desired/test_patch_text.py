"""The text of a podTemplatePatch."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.patch import MAX_PATCH
from qwen3_operator.desired.patch_text import PatchError, parse_patch

FIELD = "podTemplatePatch"
DOCUMENTED = """
spec:
  containers:
    - name: vllm
      env:
        - {name: A, value: "1"}   # a comment
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (DOCUMENTED, {"spec": {"containers": [{"name": "vllm", "env": [{"name": "A", "value": "1"}]}]}}),
        ("", {}),
        ("# nothing\n", {}),
        ("null", {}),
        ("{}", {}),
        ('{"spec": {"hostname": "a"}}', {"spec": {"hostname": "a"}}),
        ('{\n\t"spec": {"hostname": "a"}\n}', {"spec": {"hostname": "a"}}),
        ("{spec: {hostname: a}}", {"spec": {"hostname": "a"}}),
        # As Kubernetes reads them: dates and times are words, numbers are numbers.
        (
            "a: 2026-01-01\nb: 1:30\nc: 12\nd: 0.5\ne: yes\nf: ~\ng: 0x10\nh: -1",
            {"a": "2026-01-01", "b": "1:30", "c": 12, "d": 0.5, "e": True, "f": None, "g": 16, "h": -1},
        ),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_read(text: str, value: dict[str, Any]) -> None:
    assert parse_patch(text, FIELD) == value


REFUSED = {
    "no map": ("- a", "it has to be a map"),
    "a word": ("spec", "it has to be a map"),
    "a number": ("5", "it has to be a map"),
    "broken": ("spec:\n  a: [1", r"line \d, column \d+: "),
    "broken json": ('{"spec": ', r"line \d, column \d+: "),
    "indented wrongly": ("spec:\n  a: 1\n b: 2", "line 3, column 2: "),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: "),
    "a tab": ("spec:\n\ta: 1", "line 2, column 1: "),
    "an anchor": ("a: &x {b: 1}\nc: *x", "line 1, column 4: anchors and aliases are not taken"),
    "a tag": ("a: !!python/object:os.system x", "line 1, column 4: tags are not taken"),
    "binary": ("a: !!binary aGVsbG8=", "tags are not taken"),
    "twice": ("spec: {}\nspec: {}", "line 2, column 1: the key spec is there twice"),
    "twice in json": ('{"spec": {"a": 1, "a": 2}}', "the key a is there twice"),
    "a key that is no string": ("on: 1", "the key on is no string: put it in quotes"),
    "a key that is a list": ("[1]: 1", "is no string"),
    "no number": ("a: .nan", "line 1, column 4: no number of JSON"),
    "infinite": ("a: .inf", "no number of JSON"),
    "no number in json": ('{"a": NaN}', "NaN is no number of JSON"),
    "a large number": (f"a: {2**63}", "too large a number"),
    "a large number in json": (f'{{"a": {2**63}}}', "too large a number"),
    "many digits": ("a: " + "9" * 10_000, "too large a number"),
    "many digits in json": ('{"a": ' + "9" * 10_000 + "}", "too large a number"),
    "a large exponent": ("a: 1.0e+999", "no number of JSON"),
    "a control character": ("a: \x01", "it is neither YAML nor JSON"),
    "too long": ("#" * (MAX_PATCH + 1), f"more than {MAX_PATCH} characters"),
    # Attack 01, as text: what recursed over it would end the process.
    "deep": ("{a: " * 33 + "1" + "}" * 33, "nested deeper than 32 levels"),
    "deep json": ('{"a":' * 33 + "1" + "}" * 33, "nested deeper than 32 levels"),
    "very deep": ("[" * MAX_PATCH, "nested deeper than 32 levels"),
    "very deep json": ('{"a":' * (MAX_PATCH // 5), "neither YAML nor JSON|nested deeper than 32 levels"),
    "very deep and whole": ('{"a":' * 5000 + "1" + "}" * 5000, "neither YAML nor JSON|nested deeper than 32 levels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(PatchError, match=rf"^podTemplatePatch.*{words}"):
        parse_patch(text, FIELD)


def test_the_deepest_that_is_taken() -> None:
    assert parse_patch("{a: " * 32 + "1" + "}" * 32, FIELD)


@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-&*!|>#\"' \nab1", max_size=200))
def test_any_text_is_a_patch_or_refused(text: str) -> None:
    try:
        patch = parse_patch(text, FIELD)
    except PatchError as error:
        assert str(error).startswith(FIELD)
    else:
        json.dumps(patch, allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "9_" * 16_000,
        "a: " + "1." * 16_000,
        "a: " + "0" * 32_000,
        "? " * 16_000,
        "- " * 16_000,
        "".join(f"k{i}: x\n" for i in range(3_500)),
        "a: [" + "{}," * 10_000 + "]",
        "a: " + "-+" * 16_000,
    ],
    ids=range(8),
)
def test_the_worst_text_is_cheap(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(PatchError):
        parse_patch(text[:MAX_PATCH], FIELD)
    assert time.process_time() - started < 2, "some hundredths of a second on a quiet machine"

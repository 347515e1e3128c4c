"""One list of reasons, and nothing in the code beside it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from qwen3_download.errors import Reason as DownloadReason
from qwen3_operator.api.reasons import Act, Reason
from qwen3_operator.controller.kinds import CONFIG_MAPS, SECRETS, Kind
from qwen3_operator.naming import QWEN3_MODELS
from qwen3_operator.reconcile.watched import CHILDREN

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "operator/qwen3_operator"
PATTERNS = yaml.safe_load((PACKAGE / "engine/diagnosis/patterns.yaml").read_text())
MAKERS = {"Problem": 0, "Cause": 0, "Idle": 0, "Trouble": 0, "Fit": 1, "set": 2, "Stop": 1, "summarize": 0}
"""What is made with a reason, and the place of that among the arguments."""


def reasons_in(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every literal that is given as a reason."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
        if name in MAKERS and len(node.args) > MAKERS[name]:
            given.append(node.args[MAKERS[name]])
        yield from ((node.lineno, text) for value in given for text in literals(value))


def literals(node: ast.AST) -> Iterator[str]:
    """Strings of an expression; what is put together at run time is checked then."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.JoinedStr):
        for part in ast.iter_child_nodes(node):
            yield from literals(part)


def test_names_words_and_remedies() -> None:
    for reason in Reason:
        claim = reason is Reason.CLAIM_REFUSED
        assert claim or reason.name == re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(reason)).upper()
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]{1,99}", reason)
        assert reason.meaning and reason.meaning[-1] not in ".:" and len(reason.meaning) < 110
        assert not reason.needs_person or reason.remedy, f"{reason}: a person must know what to do"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_reason_of_the_operator_is_a_literal(path: Path) -> None:
    """mypy holds the same where a type is known: here is what it cannot see."""
    found = [(line, text) for line, text in reasons_in(path) if re.fullmatch(r"[A-Z][a-z]+[A-Za-z0-9]*", text)]
    assert not found, "use a member of Reason"


def test_the_scan_sees_literals(tmp_path: Path) -> None:
    code = 'Problem("A", "m")\nconditions.set(kind, "False", "B" if x else "C")\nIdle(reason="D", message="m")\n'
    (tmp_path / "code.py").write_text(code)
    assert {text for _, text in reasons_in(tmp_path / "code.py")} == {"A", "B", "C", "D"}


def test_every_reason_is_used() -> None:
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "reasons.py")
    runner = "\n".join(path.read_text() for path in (ROOT / "in_engine").rglob("*.py"))
    elsewhere = {row["reason"] for rows in PATTERNS.values() for row in rows} | {str(r) for r in DownloadReason}
    of_kinds = {f"{kind.kind}Refused" for kind in CHILDREN} | {"ConfigMapRefused", "Qwen3ModelRefused"}
    missing = {f"{kind.kind}{what}" for kind in (SECRETS, CONFIG_MAPS) for what in ("NotFound", "KeyNotFound")}
    of_kubelet = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
    of_jobs = {"BackoffLimitExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"}
    verdicts = {"Fits", "Tight"}
    known = elsewhere | of_kinds | missing | of_kubelet | of_jobs | verdicts
    unused = [r for r in Reason if f"Reason.{r.name}" not in code and r not in known and f'"{r}"' not in runner]
    assert not unused


@pytest.mark.parametrize("section", sorted(PATTERNS))
def test_reasons_of_texts(section: str) -> None:
    for row in PATTERNS[section]:
        Reason.of(row["reason"])


@pytest.mark.parametrize("reason", DownloadReason)
def test_reasons_of_the_downloader(reason: DownloadReason) -> None:
    assert Reason.of(str(reason)).act is not Act.NOBODY


def test_reasons_of_the_batch_runner() -> None:
    found = {text for path in (ROOT / "in_engine").rglob("*.py") for _, text in reasons_in(path)}
    of_volumes = {"InputNotReadable", "OutputFull", "OutputNotWritable", "VolumeError"}
    words = {text for text in found if re.fullmatch(r"[A-Z][a-z]+[A-Za-z]*", text)} | of_volumes
    assert len(words) > 10
    for word in words:
        assert Reason.of(word).act is not Act.NOBODY


@pytest.mark.parametrize("kind", [*CHILDREN, CONFIG_MAPS, QWEN3_MODELS], ids=lambda kind: kind.kind)
def test_a_child_that_is_refused_has_a_reason(kind: Kind) -> None:
    assert Reason.of(f"{kind.kind}Refused").needs_person


def test_a_word_from_outside_becomes_one_of_ours() -> None:
    assert Reason.known("HubUnavailable", Reason.WAITING) is Reason.HUB_UNAVAILABLE
    for word in ("", None, "NoSuchWord", 7, "hubunavailable"):
        assert Reason.known(word, Reason.WAITING) is Reason.WAITING


def test_the_page_has_every_reason_and_every_section_of_texts() -> None:
    location = importlib.util.spec_from_file_location("reference", ROOT / "hack/reference.py")
    assert location is not None and location.loader is not None
    reference = importlib.util.module_from_spec(location)
    location.loader.exec_module(reference)
    page = reference.reasons()
    assert set(reference.SECTIONS) == set(PATTERNS) and set(reference.ACTS) == set(Act)
    assert all(f"| `{reason}` |" in page for reason in Reason)
    assert (ROOT / "docs/reasons.md").read_text() == page

"""A batch's own engine is asked whether it answers as its model before it has the first line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.batch.runner import Batch, content

from qwen3_in_engine.batch_runner.contract import WRONG_ANSWERS

CHAT: dict[str, Any] = {
    "names": ["Qwen3-8B"],
    "max_model_len": 4096,
    "thinking": "hybrid",
    "reasoning_parser": "qwen3",
    "tool_call_parser": "hermes",
}
EMBED, RANK = ({"names": ["Qwen3-8B"], "task": task} for task in ("embed", "rerank"))


def asked(folder: Path, verify: dict[str, Any] | None = CHAT, line: Any = "one", **config: Any) -> Batch:
    """A batch of one line."""
    return Batch(folder, [line], **{"text": isinstance(line, str), "verify": verify} | config)


def test_an_engine_that_is_right(tmp_path: Path) -> None:
    batch = asked(tmp_path)
    assert batch.run() == 0, batch.log()
    assert [content(answer) for answer in batch.answers()] == ["answer to one"]
    assert '"event": "verified"' in batch.log()
    assert "seen: models, thinking, answer, prompts; not checked: tool call" in batch.log()


WRONG: dict[str, tuple[dict[str, Any], str, dict[str, Any], str]] = {
    "parser": (CHAT, "parser", {}, "reasoning parser qwen3: without thinking the whole answer is in the reasoning"),
    "template": (CHAT, "template", {}, 'thinking is answered by HTTP 400 {"error": {"message": "\'foo\' is undefined'),
    "embedding": (EMBED, "zero", {"task": "embed", "line": {"input": "x"}}, "an embedding is no number, or zero"),
    "name": (CHAT | {"names": ["Qwen3-4B"]}, "", {}, "the server offers Qwen3-8B, and not Qwen3-4B"),
    "length": (CHAT | {"max_model_len": 2048}, "", {}, "the server's length is 4096, and not 2048"),
    "prompt": (
        CHAT | {"prompts": [{"prompt": "2+2?", "contains": ["4"]}]},
        "",
        {},
        'spec.verify.prompts: "2+2?" is answered by "answer to 2+2?", without "4"',
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_engine_that_is_wrong_has_no_line(what: str, tmp_path: Path) -> None:
    verify, fault, config, words = WRONG[what]
    batch = asked(tmp_path, verify, **config)
    process = batch.start(env={"FAKE_FAULT": fault})
    assert process.wait(60) == WRONG_ANSWERS, batch.log()
    message = batch.message()
    assert message["reason"] == "AnswersWrong"
    assert message["message"].startswith("the engine does not answer as its model: ") and words in message["message"]
    assert "(spec.verify.mode Off answers all the same)" in message["message"]
    assert (batch.parts / "shard-00000").read_bytes() == b"" and not batch.output.exists()
    assert batch.starts == 1
    (pid,) = (int(word) for word in (tmp_path / "starts").read_text().split())
    assert not Path(f"/proc/{pid}").exists(), "it lets its GPU go"


def test_one_that_nobody_asks_answers_all_the_same(tmp_path: Path) -> None:
    batch = asked(tmp_path, None, line={"messages": [{"role": "user", "content": "x"}]}, thinks=False)
    assert batch.run(env={"FAKE_FAULT": "parser"}) == 0
    assert batch.answers()[0]["response"]["body"]["choices"][0]["message"]["reasoning"] == "answer to x"
    assert "verified" not in batch.log()


@pytest.mark.parametrize(
    ("verify", "fault", "config", "reported"),
    [
        (CHAT, "models", {}, '"event": "not verified", "message": "JSONDecodeError'),
        (RANK, "", {"task": "rerank", "line": {"query": "x", "documents": ["y"]}}, "not checked: ranking"),
        (CHAT, "template", {"chat": False}, "not checked: thinking, answer, tool call"),
    ],
    ids=["no list of models", "no such path", "no template where none is used"],
)
def test_what_cannot_be_asked_is_logged_and_no_failure(
    verify: dict[str, Any], fault: str, config: dict[str, Any], reported: str, tmp_path: Path
) -> None:
    batch = asked(tmp_path, verify, **config)
    assert batch.run(env={"FAKE_FAULT": fault}) == 0, batch.log()
    assert [answer["error"] for answer in batch.answers()] == [None]
    assert reported in batch.log()


def test_an_engine_that_dies_of_a_question_is_started_again_and_not_asked(tmp_path: Path) -> None:
    """No line is to blame for it, and none is answered late for it."""
    batch = asked(tmp_path)
    assert batch.run(env={"FAKE_FAULT": "tools"}) == 0, batch.log()
    assert [content(answer) for answer in batch.answers()] == ["answer to one"]
    assert batch.starts == 2
    assert "the engine died of it, and is started again" in batch.log()


def test_it_is_asked_once_a_pod(tmp_path: Path) -> None:
    lines = [*(f"line {i}" for i in range(20)), "poison"]
    batch = Batch(tmp_path, lines, text=True, verify=CHAT)
    assert batch.run() == 0, batch.log()
    assert [answer["error"] and answer["error"]["code"] for answer in batch.answers()] == [None] * 20 + ["engine_died"]
    assert batch.starts > 2
    assert batch.log().count('"event": "verified"') == 1

"""A real vLLM that answers otherwise than its plan says has no line of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.batch.real import CHECKPOINT, ENGINE, VERIFY, RealBatch

from qwen3_in_engine.batch_runner.contract import WRONG_ANSWERS

pytestmark = pytest.mark.e2e


def engine(**flags: str) -> tuple[str, ...]:
    """The engine's words with other values of some flags."""
    words = list(ENGINE)
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
        words += [flag, value]
    return tuple(words)


def broken_template(folder: Path) -> str:
    """One that does not show the model what the user says."""
    path, own = folder / "broken.jinja", CHECKPOINT / "chat_template.jinja"
    path.write_text(own.read_text(encoding="utf-8").replace("message.content", "'x'"), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("what", ["parser", pytest.param("template", marks=pytest.mark.nightly)])
def test_a_wrong_engine_answers_no_line(what: str, tmp_path: Path) -> None:
    if what == "parser":
        words, verify = engine(reasoning_parser="deepseek_r1"), VERIFY | {"reasoning_parser": "deepseek_r1"}
        blamed = "deepseek_r1"
    else:
        words, verify, blamed = engine(chat_template=broken_template(tmp_path)), VERIFY, "chat template"
    batch = RealBatch(tmp_path / "batch", [{"prompt": "你好"}], engine=words, verify=verify)
    assert batch.run(**batch.how) == WRONG_ANSWERS, batch.log()[-4000:]
    message = batch.message()
    print(message["message"])
    assert message["reason"] == "AnswersWrong"
    assert message["message"].startswith("the engine does not answer as its model: ") and blamed in message["message"]
    assert (batch.parts / "shard-00000").read_bytes() == b"" and not batch.output.exists()

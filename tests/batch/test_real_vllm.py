"""The runner with a real vLLM: the tutorial's prompts, sampling, lengths, and a kill on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.batch.real import RealBatch
from tests.batch.runner import content

pytestmark = pytest.mark.e2e

FACTORIAL, HELLO = "5的阶乘是多少?", "你好"
THINK, PLAIN = {"enable_thinking": True}, {"enable_thinking": False}
SAMPLING = {
    "sampling_thinking": {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0},
    "sampling_plain": {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0},
    "thinks_by_default": True,
}


def chat(text: str, kwargs: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A line of OpenAI's batch format."""
    messages = [{"role": "user", "content": text}]
    request = {"messages": messages, "chat_template_kwargs": kwargs, **body}
    return {"custom_id": text, "method": "POST", "url": "/v1/chat/completions", "body": request}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One engine's answers to everything that the tests ask."""
    lines = [
        chat(FACTORIAL, THINK),
        chat(HELLO, THINK),
        chat(FACTORIAL, PLAIN),
        chat(HELLO, PLAIN),
        {"prompt": FACTORIAL},
        {"custom_id": "c", "url": "/v1/completions", "body": {"prompt": "San Francisco is a", "temperature": 0}},
        {"prompt": "too long " * 2000},
        '{"prompt": "broken',
        chat(HELLO, PLAIN, max_tokens=2),
        {"prompt": FACTORIAL, "stop": ["×"], "temperature": 0},
        {"prompt": HELLO, "temperature": -1},
        {"prompt": HELLO, "n": 2, "temperature": 0.5},
        {
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": HELLO},
            ]
        },
        {"prompt": HELLO, "max_tokens": 100_000},
        {"prompt": HELLO, "stop_token_ids": [99_999_999], "min_tokens": 1},
        {"prompt": HELLO, "tools": "none"},
        {"messages": [{"role": "user", "content": HELLO}, {"role": "assistant", "tool_calls": [{}]}]},
    ]
    batch = RealBatch(tmp_path_factory.mktemp("batch"), lines, include_prompt=True, **SAMPLING)
    batch.config["engine"] = [*batch.config["engine"], "--uvicorn-log-level=info"]
    assert batch.run(**batch.how) == 0, batch.log()[-4000:]
    assert "not for offline inference, ignored: --uvicorn-log-level=info" in batch.log()
    assert batch.message()["merged"]
    return batch.answers()


def prompt(answer: dict[str, Any]) -> str:
    text: str = answer["response"]["body"]["prompt"]
    return text


def test_the_tutorials_prompts_think_inside_think_tags(answers: list[dict[str, Any]]) -> None:
    for answer, question in zip(answers[:2], (FACTORIAL, HELLO), strict=True):
        assert prompt(answer) == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert content(answer).startswith("<think>\n")
        assert "</think>\n\n" in content(answer)
    assert content(answers[0]).endswith("5的阶乘是 **120**。")


def test_the_tutorials_prompts_with_an_empty_think_block_when_off(answers: list[dict[str, Any]]) -> None:
    for answer, question in zip(answers[2:4], (FACTORIAL, HELLO), strict=True):
        rendered = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        assert prompt(answer) == rendered
        assert "<think>" not in content(answer)
    assert content(answers[2]) == "5的阶乘是 **120**。"


def test_a_plain_prompt_is_a_users_message(answers: list[dict[str, Any]]) -> None:
    assert prompt(answers[4]) == prompt(answers[0])


def test_a_completion_sees_no_template(answers: list[dict[str, Any]]) -> None:
    assert prompt(answers[5]) == "San Francisco is a"
    assert content(answers[5]) == " city in California."


def test_a_prompt_longer_than_the_model_is_an_error_line(answers: list[dict[str, Any]]) -> None:
    error = answers[6]["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("line 7: the prompt has ")
    assert "maxModelLen is 2048" in error["message"]


def test_broken_json_is_an_error_line(answers: list[dict[str, Any]]) -> None:
    assert answers[7]["error"]["message"].startswith("line 8 is not JSON")


def test_max_tokens_and_stop_of_a_line(answers: list[dict[str, Any]]) -> None:
    choice = answers[8]["response"]["body"]["choices"][0]
    assert (choice["finish_reason"], answers[8]["response"]["body"]["usage"]["completion_tokens"]) == ("length", 2)
    assert content(answers[9]) == "<think>\n5"


def test_what_vllm_refuses_of_a_line_is_an_error_line(answers: list[dict[str, Any]]) -> None:
    assert "temperature" in answers[10]["error"]["message"]


def test_what_would_end_the_engine_is_an_error_line(answers: list[dict[str, Any]]) -> None:
    assert "stop_token_ids must be below" in answers[14]["error"]["message"]
    assert answers[15]["error"]["message"] == "line 16: tools must be a list"
    assert answers[16]["error"]["code"] == "chat_template_error"


def test_choices_system_messages_and_limits_beyond_the_length(answers: list[dict[str, Any]]) -> None:
    assert len(answers[11]["response"]["body"]["choices"]) == 2
    assert prompt(answers[12]).startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert answers[13]["response"]["body"]["choices"][0]["finish_reason"] == "stop"


def test_ten_thousand_lines_two_shards_three_kills(tmp_path: Path) -> None:
    count = 10_000
    lines = [{"custom_id": f"c{i}", "prompt": f"{HELLO} {i}", "max_tokens": 4} for i in range(count)]
    batch = RealBatch(tmp_path, lines, shards=2)
    batch.run_killed([(0, 200_000), (1, 400_000), (0, 200_000)], shards=2, seconds=240, **batch.how)
    assert [a["custom_id"] for a in batch.answers()] == [f"c{i}" for i in range(count)]
    assert all(a["error"] is None for a in batch.answers())
    assert batch.log(0).count('"event": "resumed"') + batch.log(1).count('"event": "resumed"') == 3
    assert sum(batch.message(shard)["done"] for shard in (0, 1)) == count


def test_an_engine_of_several_processes_as_on_gpus(tmp_path: Path) -> None:
    batch = RealBatch(tmp_path, [{"prompt": HELLO, "temperature": 0}])
    batch.config["engine"] = [*batch.config["engine"], "--tensor-parallel-size=2"]
    several = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    assert batch.run(command=batch.how["command"], env=batch.how["env"] | several) == 0, batch.log()[-4000:]
    assert content(batch.answers()[0]).startswith("<think>")
    assert "Worker_TP1" in batch.log()


def test_arguments_that_vllm_does_not_take_end_the_batch_for_good(tmp_path: Path) -> None:
    batch = RealBatch(tmp_path, [{"prompt": HELLO}])
    batch.config["engine"] = [*batch.config["engine"], "--max-num-seqs=many"]
    assert batch.run(**batch.how) == 2
    assert batch.message()["reason"] == "EngineArgumentsRefused"
    assert "--max-num-seqs" in batch.log()

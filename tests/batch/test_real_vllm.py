"""The runner with a real vLLM: an OpenAI file with a line of each kind, the tutorial's prompts, kills on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.batch.real import VERIFY, RealBatch
from tests.batch.runner import content, descendants

pytestmark = pytest.mark.e2e

FACTORIAL, HELLO = "5的阶乘是多少?", "你好"
THINK, PLAIN = {"enable_thinking": True}, {"enable_thinking": False}
SAMPLING = {
    "sampling_thinking": {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0},
    "sampling_plain": {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0},
    "thinks_by_default": True,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {"type": "string", "enum": ["ok"]}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw=="


def chat(text: str, kwargs: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    """A line of OpenAI's batch format."""
    request: dict[str, Any] = {"messages": [{"role": "user", "content": text}], **body}
    if kwargs is not None:
        request["chat_template_kwargs"] = kwargs
    return {"custom_id": text, "method": "POST", "url": "/v1/chat/completions", "body": request}


def completion(**body: Any) -> dict[str, Any]:
    """A line that is completed."""
    return {"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": body}


DEFAULTS: dict[str, Any] = {
    "model": "Tiny-Qwen3",
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "max_completion_tokens": 200,
    "metadata": {},
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "seed": None,
    "service_tier": "auto",
    "stop": None,
    "store": False,
    "stream": False,
    "stream_options": None,
    "temperature": 0,
    "tool_choice": None,
    "tools": None,
    "top_logprobs": None,
    "top_p": 1,
    "user": "u",
}
"""OpenAI's fields, each at its default."""
LINES: dict[str, Any] = {
    "thinks": chat(FACTORIAL, THINK),
    "thinks too": chat(HELLO, THINK),
    "plain": chat(FACTORIAL, PLAIN),
    "plain too": chat(HELLO, PLAIN),
    "a prompt": {"prompt": FACTORIAL},
    "completed": completion(prompt="San Francisco is a", temperature=0),
    "too long": {"prompt": "too long " * 2000},
    "broken": '{"prompt": "broken',
    "short": chat(HELLO, PLAIN, max_tokens=2),
    "stop": {"prompt": FACTORIAL, "stop": ["的"], "temperature": 0, "chat_template_kwargs": PLAIN},
    "below zero": {"prompt": HELLO, "temperature": -1},
    "two": {"prompt": HELLO, "n": 2, "temperature": 0.5},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": HELLO}]},
    "limit": {"prompt": HELLO, "max_tokens": 100_000},
    "wrong stop": {"prompt": HELLO, "stop_token_ids": [99_999_999], "min_tokens": 1},
    "wrong tools": {"prompt": HELLO, "tools": "none"},
    "wrong call": {"messages": [{"role": "user", "content": HELLO}, {"role": "assistant", "tool_calls": [{}]}]},
    "defaults": chat(FACTORIAL, **DEFAULTS),
    "logprobs": chat(HELLO, PLAIN, logprobs=True, top_logprobs=2, max_tokens=1),
    "json": chat(
        HELLO,
        PLAIN,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        temperature=0,
        max_tokens=60,
    ),
    "choice": chat(HELLO, PLAIN, structured_outputs={"choice": ["yes", "no"]}),
    "tools": chat("北京今天天气怎么样?", tools=[WEATHER], temperature=0),
    "prompts": completion(prompt=["San Francisco is a", "San Francisco is a"], temperature=0),
    "tokens": completion(prompt=[1, 2, 3], max_tokens=2),
    "responses": {"custom_id": "r", "method": "POST", "url": "/v1/responses", "body": {"input": "ping"}},
    "embedding": {"custom_id": "e", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}},
    "another model": chat(HELLO, model="gpt-4o-mini"),
    "unknown": chat(HELLO, nonsense=True),
    "image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": HELLO}]}], "enable_thinking": False},
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One engine's answers to everything that the tests ask."""
    folder, config = tmp_path_factory.mktemp("batch"), {"include_prompt": True, "verify": VERIFY, **SAMPLING}
    batch = RealBatch(folder, list(LINES.values()), **config)
    assert batch.run(**batch.how) == 0, batch.log()[-4000:]
    assert "seen: models, thinking, answer, tool call, prompts" in batch.log(), "asked before the first line"
    assert batch.message()["merged"]
    found = dict(zip(LINES, batch.answers(), strict=True))
    for name, answer in found.items():
        print(name, json.dumps(answer, ensure_ascii=False)[:600])
    return found


def body(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["error"] is None, answer
    found: dict[str, Any] = answer["response"]["body"]
    return found


def message(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body(answer)["choices"][0]["message"]
    return found


def prompt(answer: dict[str, Any]) -> str:
    text: str = body(answer)["prompt"]
    return text


def refused(answer: dict[str, Any]) -> tuple[str, str]:
    """Code and message of an error line."""
    assert answer["response"] is None
    return answer["error"]["code"], answer["error"]["message"]


def test_the_tutorials_prompts_think_apart_from_the_answer(answers: dict[str, Any]) -> None:
    for name, question in (("thinks", FACTORIAL), ("thinks too", HELLO)):
        assert prompt(answers[name]) == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert message(answers[name])["reasoning"].strip()
        assert "think>" not in message(answers[name])["content"]
    assert message(answers["thinks"])["content"].strip() == "5的阶乘是 **120**。"


def test_the_tutorials_prompts_with_an_empty_think_block_when_off(answers: dict[str, Any]) -> None:
    for name, question in (("plain", FACTORIAL), ("plain too", HELLO)):
        rendered = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        assert prompt(answers[name]) == rendered
        assert message(answers[name])["reasoning"] is None
    assert content(answers["plain"]) == "5的阶乘是 **120**。"
    assert content(answers["parts"]) == content(answers["plain too"])


def test_a_plain_prompt_is_a_users_message_and_a_completion_sees_no_template(answers: dict[str, Any]) -> None:
    assert prompt(answers["a prompt"]) == prompt(answers["thinks"])
    assert prompt(answers["system"]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert prompt(answers["completed"]) == "San Francisco is a"
    assert content(answers["completed"]) == " city in California."
    assert [c["text"] for c in body(answers["prompts"])["choices"]] == [" city in California."] * 2
    assert body(answers["tokens"])["usage"]["prompt_tokens"] == 3


def test_limits_stops_and_choices(answers: dict[str, Any]) -> None:
    usage = body(answers["short"])["usage"]
    assert (body(answers["short"])["choices"][0]["finish_reason"], usage["completion_tokens"]) == ("length", 2)
    assert content(answers["stop"]) == "5"
    assert len(body(answers["two"])["choices"]) == 2
    assert body(answers["limit"])["choices"][0]["finish_reason"] == "stop"


def test_every_field_of_openais_at_its_default(answers: dict[str, Any]) -> None:
    assert message(answers["defaults"])["content"].strip() == "5的阶乘是 **120**。"


def test_what_servers_do_batches_do(answers: dict[str, Any]) -> None:
    (token,) = body(answers["logprobs"])["choices"][0]["logprobs"]["content"]
    assert len(token["top_logprobs"]) == 2
    assert json.loads(content(answers["json"])) == "ok"
    assert content(answers["choice"]) in ("yes", "no")
    (call,) = message(answers["tools"])["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "北京"})
    assert body(answers["tools"])["choices"][0]["finish_reason"] == "tool_calls"
    assert body(answers["responses"])["output"][-1]["content"][0]["text"].strip() == "pong"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("too long", "context_length_exceeded", "maximum context length is 2048"),
        ("broken", "invalid_json", "is not JSON"),
        ("below zero", "invalid_request", "temperature must be non-negative"),
        ("wrong stop", "invalid_request", "stop_token_ids must be below"),
        ("wrong tools", "invalid_request", "tools"),
        ("wrong call", "invalid_request", "validation error"),
        ("embedding", "unsupported_url", "/v1/embeddings is not answered by this model"),
        ("another model", "model_not_found", "model gpt-4o-mini is not what answers here (Tiny-Qwen3)"),
        ("unknown", "unsupported_parameter", "nonsense is not supported by this vLLM"),
        ("image", "invalid_request", "is not a multimodal model"),
    ],
)
def test_what_cannot_be_answered_is_an_error_line(answers: dict[str, Any], name: str, code: str, words: str) -> None:
    found, said = refused(answers[name])
    assert (found, words in said) == (code, True), said
    assert said.startswith(f"line {list(LINES).index(name) + 1}")


def test_an_answer_has_the_shape_of_openais_batches(answers: dict[str, Any]) -> None:
    answer = answers["plain"]
    assert set(answer) == {"id", "custom_id", "response", "error"}
    assert (answer["custom_id"], answer["response"]["status_code"]) == (FACTORIAL, 200)
    assert (body(answer)["object"], body(answer)["model"]) == ("chat.completion", "Tiny-Qwen3")
    assert "token_ids" not in body(answer)["choices"][0]


@pytest.mark.nightly
def test_thousands_of_lines_two_shards_three_kills(tmp_path: Path) -> None:
    count = 2_000
    lines = [{"custom_id": f"c{i}", "prompt": f"{HELLO} {i}", "max_tokens": 4} for i in range(count)]
    batch = RealBatch(tmp_path, lines, shards=2)
    batch.run_killed([(0, 40_000), (1, 80_000), (0, 40_000)], shards=2, seconds=500, **batch.how)
    assert [a["custom_id"] for a in batch.answers()] == [f"c{i}" for i in range(count)]
    assert all(a["error"] is None for a in batch.answers())
    assert batch.log(0).count('"event": "resumed"') + batch.log(1).count('"event": "resumed"') == 3
    assert sum(batch.message(shard)["done"] for shard in (0, 1)) == count


@pytest.mark.nightly
def test_a_core_that_is_killed_is_started_again_in_the_same_pod(tmp_path: Path) -> None:
    lengths = [10] + [600] * 19  # the first answer comes long before the last
    lines = [{"prompt": f"{HELLO} {n}", "max_tokens": length, "ignore_eos": True} for n, length in enumerate(lengths)]
    batch = RealBatch(tmp_path, lines)
    running = batch.start(**batch.how)
    part, deadline = batch.parts / "shard-00000", time.monotonic() + 480
    while not part.exists() or not part.stat().st_size:
        assert time.monotonic() < deadline and running.poll() is None, batch.log()[-4000:]
        time.sleep(0.1)
    found = subprocess.run(["pgrep", "-f", "VLLM::EngineCore"], capture_output=True, text=True).stdout.split()
    ours = [pid for pid in descendants(running.pid) if str(pid) in found]
    assert ours
    os.kill(ours[0], signal.SIGKILL)
    assert running.wait(300) == 0, batch.log()[-4000:]
    assert all(a["error"] is None for a in batch.answers())
    assert batch.log().count("Application startup complete") == 2


@pytest.mark.nightly
def test_an_engine_of_several_processes_as_on_gpus(tmp_path: Path) -> None:
    batch = RealBatch(tmp_path, [{"prompt": HELLO, "temperature": 0}])
    batch.config["engine"] = [*batch.config["engine"], "--tensor-parallel-size=2"]
    several = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    assert batch.run(command=batch.how["command"], env=batch.how["env"] | several) == 0, batch.log()[-4000:]
    assert message(batch.answers()[0])["reasoning"]
    assert "Worker_TP1" in batch.log()


def test_arguments_that_vllm_does_not_take_end_the_batch_for_good(tmp_path: Path) -> None:
    batch = RealBatch(tmp_path, [{"prompt": HELLO}])
    batch.config["engine"] = [*batch.config["engine"], "--max-num-seqs=many"]
    assert batch.run(**batch.how) == 2
    assert batch.message()["reason"] == "EngineArgumentsRefused"
    assert "--max-num-seqs" in batch.log()


def test_embeddings(tmp_path: Path) -> None:
    lines: list[Any] = [
        {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": [HELLO, FACTORIAL]}},
        {"prompt": HELLO},
        {"input": HELLO, "encoding_format": "base64"},
        chat(HELLO),
    ]
    batch = RealBatch(tmp_path, lines, task="embed")
    generating = batch.config["engine"].index("--reasoning-parser")
    batch.config["engine"] = [*batch.config["engine"][:generating], "--runner=pooling", "--convert=embed"]
    assert batch.run(**batch.how) == 0, batch.log()[-4000:]
    two, plain, encoded, refused_line = batch.answers()
    vectors = [item["embedding"] for item in body(two)["data"]]
    assert len(vectors) == 2 and vectors[0] == pytest.approx(body(plain)["data"][0]["embedding"], abs=1e-2)
    assert isinstance(body(encoded)["data"][0]["embedding"], str)
    assert refused(refused_line)[0] == "unsupported_url"
    assert batch.message()["promptTokens"] > 0

"""Resuming, sharding, merging and refusing, with an engine that answers at once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.batch.runner import Batch, content


def test_ten_thousand_lines_two_shards_three_kills(tmp_path: Path) -> None:
    count, rng = 10_000, random.Random(5)
    batch = Batch(tmp_path, [{"custom_id": f"c{i}", "prompt": f"question {i}"} for i in range(count)], shards=2)
    kills = [(kill % 2, rng.randint(3, 40) * 1000) for kill in range(3)]
    batch.run_killed(kills, shards=2, seconds=120, env={"FAKE_SECONDS": "0.01"})
    answers = batch.answers()
    assert [a["custom_id"] for a in answers] == [f"c{i}" for i in range(count)]
    assert [content(a) for a in answers] == [f"answer to question {i}" for i in range(count)]
    assert batch.log(0).count('"event": "resumed"') + batch.log(1).count('"event": "resumed"') == 3
    assert sum(batch.message(shard)["done"] for shard in (0, 1)) == count
    assert not list(batch.parts.glob("shard-*[0-9]")), "the parts are removed once the output is in place"


def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["one", "two", "three"], text=True)
    assert batch.run() == 0
    whole = batch.output.read_bytes()
    batch.output.unlink()
    (batch.parts / "shard-00000.done").unlink()
    first = whole.splitlines(keepends=True)[0]
    (batch.parts / "shard-00000").write_bytes(b"0\t" + first + b'1\t{"id": "batch_r')
    assert batch.run() == 0
    assert [content(a) for a in batch.answers()] == ["answer to one", "answer to two", "answer to three"]
    assert batch.message()["done"] == 3


def test_running_again_after_the_end_changes_nothing(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["one", "two"], text=True)
    assert batch.run() == 0
    before, first = batch.output.read_bytes(), batch.message()
    assert batch.run() == 0
    assert batch.output.read_bytes() == before
    assert (batch.message()["done"], batch.message()["merged"]) == (first["done"], True)


def test_sigterm_keeps_what_is_finished(tmp_path: Path) -> None:
    batch = Batch(tmp_path, [f"line {i}" for i in range(2000)], text=True)
    process = batch.start(env={"FAKE_SECONDS": "0.02", "FAKE_AT_ONCE": "8"})
    part = batch.parts / "shard-00000"
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 5000:
        assert time.monotonic() < deadline and process.poll() is None, batch.log()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 1
    assert batch.message()["reason"] == "Terminated"
    assert all(line.endswith(b"\n") for line in part.read_bytes().splitlines(keepends=True))
    assert batch.run() == 0
    assert len(batch.answers()) == 2000


BAD_LINES = [
    ('{"prompt": "one"}', None, ""),
    ('{"prompt": ', "invalid_json", "line 2 is not JSON: Expecting value at column 12"),
    ("", "empty_line", "line 3 is empty"),
    ("[1]", "invalid_request", "line 4 is no JSON object"),
    ('{"question": "x"}', "invalid_request", "line 5: a line has one of prompt, messages, input, documents, or"),
    ('{"custom_id": "b", "body": {"messages": []}}', "invalid_request", "line 6: messages must be a list"),
    ('{"custom_id": "e", "url": "/v1/embeddings", "body": {}}', "unsupported_url", "/v1/embeddings"),
    ('{"prompt": "x", "min_p": 0.1}', "unsupported_parameter", "line 8: min_p is not supported by this vLLM"),
    (json.dumps({"prompt": "too long"}), "context_length_exceeded", "line 9: This model's maximum context length"),
    ('{"prompt": "x", "temperature": NaN}', "invalid_json", "it has NaN"),
    ('{"prompt": "x", "temperature": 1e999}', "invalid_json", "it has the number 1e999, which is too large"),
    ('{"prompt": "x", "seed": 9223372036854775808}', "invalid_request", "seed must be a whole number of 64 bits"),
    ('{"prompt": "x", "stop_token_ids": "1"}', "invalid_request", "stop_token_ids must be a list of token ids"),
    ('{"prompt": "x", "stop_token_ids": [640]}', "invalid_request", "stop_token_ids must be below 640"),
    ('{"prompt": "x", "n": 129}', "invalid_request", "n must be at most 128"),
    ('{"custom_id": "\\ud800", "prompt": "x"}', "invalid_unicode", "half a character"),
    ('{"prompt": ' + "[" * 100_000 + "}", "invalid_json", "line 17 is nested too deep"),
    ('{"prompt": "x", "stream": true}', "unsupported_parameter", "stream"),
    ('{"prompt": "x", "model": "gpt-4o-mini"}', "model_not_found", "line 19: model gpt-4o-mini is not what answers"),
    ('{"prompt": "a mistake"}', "server_error", "line 20: a mistake of the server"),
    ('{"messages": [{"role": "user", "content": "a chat"}]}', None, ""),
]


def test_bad_lines_become_error_lines_and_the_rest_is_answered(tmp_path: Path) -> None:
    batch = Batch(tmp_path, [line for line, _, _ in BAD_LINES], vocabulary=640)
    batch.input.write_bytes(batch.input.read_bytes() + b'{"prompt": "\xff"}\n')
    assert batch.run() == 0
    answers = batch.answers()
    assert len(answers) == len(BAD_LINES) + 1
    for answer, (line, code, words) in zip(answers, BAD_LINES, strict=False):
        if code is None:
            assert answer["error"] is None and content(answer), line
        else:
            assert answer["response"] is None
            assert answer["error"]["code"] == code, line
            assert words in answer["error"]["message"], line
    assert answers[5]["custom_id"] == "b"
    assert answers[-1]["error"]["message"] == "line 22 is not UTF-8 (byte 13)"
    assert (batch.message()["done"], batch.message()["failed"]) == (2, 20)


def test_the_output_is_openais_batch_format(tmp_path: Path) -> None:
    chat = {"method": "POST", "url": "/v1/chat/completions"}
    lines = [
        {"custom_id": "a", **chat, "body": {"model": "Qwen3-8B", "messages": [{"role": "user", "content": "hi"}]}},
        {"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"prompt": "once"}},
    ]
    batch = Batch(tmp_path, lines)
    assert batch.run() == 0
    first, second = batch.answers()
    assert first["id"] == "batch_req_team-nightly-0"
    assert first["response"]["status_code"] == 200
    body = first["response"]["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "Qwen3-8B")
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "answer to hi"}
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert second["response"]["body"]["object"] == "text_completion"
    assert second["response"]["body"]["model"] == "Qwen3-8B"
    assert second["response"]["body"]["asked"]["max_tokens"] is None
    assert second["response"]["body"]["choices"][0]["text"] == "answer to once"


def refused(batch: Batch, code: int, reason: str) -> str:
    """The message of a shard that ends with this."""
    assert batch.run() == code, batch.log()
    message = batch.message()
    assert (message["result"], message["reason"]) == ("Failed", reason)
    return str(message["message"])


def test_the_input_is_read_once(tmp_path: Path) -> None:
    """From a pipe: whoever opened it again, or sought in it, would wait for ever."""
    lines = [f"line {i}" for i in range(500)]
    batch = Batch(tmp_path, lines, text=True, shards=2)
    content_of_input = batch.input.read_bytes()
    batch.input.unlink()
    os.mkfifo(batch.input)
    for shard in (0, 1):
        process = batch.start(shard)
        threading.Thread(target=batch.input.write_bytes, args=(content_of_input,), daemon=True).start()
        try:
            assert process.wait(120) == 0, batch.log(shard)
        finally:
            process.kill()
    assert [content(a) for a in batch.answers()] == [f"answer to {line}" for line in lines]


def test_an_empty_file(tmp_path: Path) -> None:
    assert "is empty" in refused(Batch(tmp_path, b""), 10, "InputEmpty")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["x"])
    batch.input.unlink()
    assert "does not exist on the volume" in refused(batch, 10, "InputNotFound")


def test_an_output_that_exists_is_not_touched(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["x"], text=True)
    batch.output.parent.mkdir()
    batch.output.write_text("precious")
    assert "exists already" in refused(batch, 11, "OutputExists")
    assert batch.output.read_text() == "precious"


def test_the_output_of_another_batch_is_not_touched(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["x"], text=True)
    assert batch.run() == 0
    before = batch.output.read_bytes()
    other = Batch(tmp_path, ["x"], text=True, name="other")
    assert "is the output of Qwen3Batch team/nightly" in refused(other, 11, "OutputInUse")
    assert batch.output.read_bytes() == before


@pytest.mark.parametrize(
    ("lines", "config", "reason"),
    [
        (["y"], {}, "InputChanged"),
        (["x"], {"fingerprint": "g"}, "OutputOfOtherSettings"),
        (["x"], {"shards": 2}, "OutputOfOtherSettings"),
    ],
)
def test_answers_of_two_kinds_are_not_mixed(
    tmp_path: Path, lines: list[str], config: dict[str, object], reason: str
) -> None:
    assert Batch(tmp_path, ["x"], text=True).run() == 0
    assert "name another output" in refused(Batch(tmp_path, lines, text=True, **config), 11, reason).lower()


def test_an_output_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    assert "cannot be written" in refused(Batch(tmp_path, ["x"], text=True), 11, "OutputNotWritable")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_volume_that_runs_full_and_is_grown(tmp_path: Path) -> None:
    batch = Batch(tmp_path, [{"prompt": f"line {i}"} for i in range(3_000)])
    volume = batch.output.parent
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", volume], check=True)
    try:
        assert batch.run() == 11, batch.log()
        assert batch.message()["reason"] == "OutputFull"
        assert str(batch.output) in batch.message()["message"]
        assert not batch.output.exists()
        finished = (batch.parts / "shard-00000").read_bytes().count(b"\n")
        assert 0 < finished < 3_000
        subprocess.run(["mount", "-o", "remount,size=32m", volume], check=True)
        assert batch.run() == 0, batch.log()
        answers = batch.answers()
        assert len(answers) == 3_000 and all(answer["error"] is None for answer in answers)
        resumed = next(json.loads(line) for line in batch.log().splitlines() if '"event": "resumed"' in line)
        assert resumed["done"] >= finished - 1, "but for a line that was cut off"
    finally:
        subprocess.run(["umount", volume], check=True)

"""What becomes of a batch whose engine dies or hangs, whose time is out, or that has nothing to ask."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from devcluster.controlplane import free_ports
from tests.batch.runner import Batch, content

from qwen3_in_engine.batch_runner.contract import DELIVER


def codes(batch: Batch) -> list[str]:
    """The code of each line's error; empty for an answer."""
    return [answer["error"]["code"] if answer["error"] else "" for answer in batch.answers()]


def test_a_line_that_kills_the_engine_is_found_and_the_rest_is_answered(tmp_path: Path) -> None:
    lines = [f"line {i}" for i in range(60)]
    lines[30] = "poison"
    batch = Batch(tmp_path, lines, text=True)
    assert batch.run() == 0, batch.log()
    assert codes(batch) == ["engine_died" if i == 30 else "" for i in range(60)]
    error = batch.answers()[30]["error"]["message"]
    assert error.startswith("line 31: vLLM's engine dies of it")
    assert batch.message()["failed"] == 1
    assert 3 < batch.starts < 8


def test_a_line_that_kills_the_pod_is_found_by_the_pods_after_it(tmp_path: Path) -> None:
    """The ledger is read back from the volume: an engine's death may take the runner along (out of memory)."""
    lines = ["poison", *(f"line {i}" for i in range(20))]
    batch = Batch(tmp_path, lines, text=True, stall_seconds=1)
    # A pod after the other hangs and is ended: as if it were killed, for what it leaves on the volume.
    batch.input.write_text("\n".join(["hang", *lines[1:]]) + "\n")
    ends = [batch.run() for _ in range(5)]
    assert ends[-1] == 0, batch.log()
    assert ends.index(0) <= 4
    assert codes(batch) == ["engine_died", *([""] * 20)]


def test_an_engine_that_hangs_ends_the_pod_with_a_reason(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["one", "hang"], text=True, stall_seconds=1)
    assert batch.run() == 1
    message = batch.message()
    assert message["reason"] == "EngineStalled"
    assert "owes 1 answers and has made no token for" in message["message"]


def test_an_engine_that_answers_nothing_accuses_no_line(tmp_path: Path) -> None:
    """It dies of what it is asked to see that it is well, too: a broken GPU."""
    batch = Batch(tmp_path, ["one", "two"], text=True)
    assert batch.run(env={"FAKE_BROKEN": "1"}) == 1
    assert batch.message()["reason"] == "EngineDied"


@pytest.mark.parametrize(
    ("code", "ends", "reason"), [("2", 2, "EngineArgumentsRefused"), ("7", 1, "EngineStartFailed")]
)
def test_an_engine_that_does_not_start(tmp_path: Path, code: str, ends: int, reason: str) -> None:
    batch = Batch(tmp_path, ["one"], text=True)
    assert batch.run(env={"FAKE_EXIT": code}) == ends
    assert batch.message()["reason"] == reason


def test_a_file_of_nothing_but_bad_lines_starts_no_engine(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["{", '{"prompt": "x", "model": "other"}'])
    assert batch.run() == 0
    assert codes(batch) == ["invalid_json", "model_not_found"]
    assert batch.starts == 0


def test_what_is_finished_is_delivered_when_the_time_is_out(tmp_path: Path) -> None:
    """Of two shards one is done, one has begun."""
    lines: list[Any] = [{"custom_id": f"c{i}", "prompt": f"q{i}"} for i in range(10)]
    lines[7] = "{"
    batch = Batch(tmp_path, lines, shards=2)
    assert batch.run(0) == 0
    assert not batch.output.exists()
    assert batch.run(words=[DELIVER, "batch_expired", "spec.activeDeadlineSeconds were over"]) == 0
    assert batch.message() == {"result": "Complete", "merged": True, "missing": 5, "lines": 10}
    answers = batch.answers()
    assert codes(batch) == ["", "batch_expired"] * 3 + ["", "invalid_json", "", "batch_expired"]
    assert [a["custom_id"] for a in answers] == [f"c{i}" if i != 7 else "line-8" for i in range(10)]
    assert answers[1]["error"]["message"] == "line 2: spec.activeDeadlineSeconds were over"


def test_a_batch_that_was_delivered_in_part_may_go_on(tmp_path: Path) -> None:
    batch = Batch(tmp_path, [f"q{i}" for i in range(6)], text=True, shards=2)
    assert batch.run(0) == 0
    assert batch.run(words=[DELIVER, "batch_expired", "late"]) == 0
    assert batch.run(1) == 0
    assert batch.message(1)["merged"]
    assert [content(a) for a in batch.answers()] == [f"answer to q{i}" for i in range(6)]
    assert batch.run(words=[DELIVER, "batch_expired", "late"]) == 0, "a whole output stays"
    assert codes(batch) == [""] * 6


def test_another_models_name(tmp_path: Path) -> None:
    asked = {"messages": [{"role": "user", "content": "x"}], "model": "gpt-4o-mini"}
    lines = [{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked}]
    batch = Batch(tmp_path / "as-is", lines)
    assert batch.run() == 0
    assert codes(batch) == ["model_not_found"]
    batch = Batch(tmp_path / "any", lines, any_model=True)
    assert batch.run() == 0
    assert batch.answers()[0]["response"]["body"]["model"] == "Qwen3-8B"


def test_a_limit_beyond_what_the_prompt_leaves_is_what_it_leaves(tmp_path: Path) -> None:
    batch = Batch(tmp_path, [{"prompt": "x", "max_tokens": 100_000}])
    assert batch.run() == 0
    assert batch.answers()[0]["response"]["body"]["asked"]["max_tokens"] is None


def test_defaults_of_lines_that_think_and_of_those_that_do_not(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "x"}]}
    lines = [chat, chat | {"chat_template_kwargs": {"enable_thinking": False}}, chat | {"enable_thinking": False}]
    lines.append(chat | {"temperature": 0, "max_tokens": 5, "seed": 1})
    batch = Batch(
        tmp_path,
        lines,
        thinks=True,
        sampling_thinking={"temperature": 0.6, "max_tokens": 50},
        sampling_plain={"temperature": 0.7},
        seed=40,
    )
    assert batch.run() == 0
    asked = [answer["response"]["body"]["asked"] for answer in batch.answers()]
    assert [a["temperature"] for a in asked] == [0.6, 0.7, 0.7, 0]
    assert [a["seed"] for a in asked] == [40, 41, 42, 1]
    assert [a["chat_template_kwargs"]["enable_thinking"] for a in asked] == [True, False, False, True]
    assert [a.get("max_tokens") for a in asked] == [50, None, None, 5]


def test_a_full_queue_is_no_fault_of_the_line(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["busy"], text=True)
    assert batch.run() == 0
    assert codes(batch) == [""]


def test_progress_is_logged_for_people_too(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["one", "two"], text=True)
    assert batch.run() == 0
    assert "batch: 0 of 2 lines of shard 0 are finished, 0 are running, 0 tokens/s" in batch.log()


def test_metrics_are_served_while_it_runs(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    batch = Batch(tmp_path, [f"line {i}" for i in range(2000)], text=True)
    slow = {"FAKE_SECONDS": "0.05", "FAKE_AT_ONCE": "1", "BATCH_METRICS_PORT": str(port)}
    process = batch.start(env=slow)
    try:
        deadline, text = time.monotonic() + 60, ""
        while "vllm:generation_tokens_total" not in text or 'state="done"} 0' in text:
            assert time.monotonic() < deadline and process.poll() is None, batch.log()
            time.sleep(0.05)
            with contextlib.suppress(requests.ConnectionError):
                text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        found = re.findall(r'^qwen3_batch_lines\{shard="0",state="(\w+)"\} (\d+)$', text, re.MULTILINE)
        assert {state for state, _ in found} == {"done", "failed", "running", "waiting"}
        assert sum(int(count) for _, count in found) == 2000
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 404
    finally:
        process.terminate()
        assert process.wait(60) == 1, "it ends on the signal, its port with it"


class _Server(BaseHTTPRequestHandler):
    """A server that runs: it refuses the first requests, and wants a key."""

    refusals = 3
    most, now = 0, 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._say(200, {})

    def do_POST(self) -> None:
        cls = type(self)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer sesame":
            self._say(401, {})
            return
        with cls.lock:
            cls.refusals -= 1
            cls.now += 1
            cls.most = max(cls.most, cls.now)
        time.sleep(0.05)  # or no two would be seen at once
        text = asked["messages"][0]["content"]
        body = {"choices": [{"message": {"content": f"answer to {text}"}}], "usage": {"completion_tokens": 1}}
        with cls.lock:
            cls.now -= 1
        self._say(503 if cls.refusals >= 0 else 200, body)

    def _say(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def test_servers_that_run_are_asked_with_patience(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        batch = Batch(tmp_path, [f"q{i}" for i in range(20)], text=True, engine=[], url=url, concurrency=3)
        assert batch.run(env={"VLLM_API_KEY": "sesame"}) == 0, batch.log()
        assert [content(a) for a in batch.answers()] == [f"answer to q{i}" for i in range(20)]
        assert 1 < _Server.most <= 3
        refused = Batch(tmp_path / "key", ["q"], text=True, engine=[], url=url)
        assert refused.run() == 1
        assert refused.message()["reason"] == "KeyRefused"
        server.shutdown()


def test_no_server_that_runs(tmp_path: Path) -> None:
    batch = Batch(tmp_path, ["q"], text=True, engine=[], url="http://127.0.0.1:9", stall_seconds=0)
    assert batch.run() == 1
    assert batch.message()["reason"] == "ServerNotReachable"

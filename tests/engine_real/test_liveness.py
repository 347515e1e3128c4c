"""A server of several processes that hangs or loses one is seen, and one that is only busy is not."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster.waiting import wait_until
from tests.engine_real.server import ARGUMENTS, CONFIG, NAME, Server, serving
from tests.load.clients import Ask, use

from qwen3_in_engine.server.contract import LIVE_PATH
from qwen3_operator.desired.in_engine import PERIOD, TIMEOUT
from qwen3_operator.plan.middleware import STALL_SECONDS, STEP_TOKENS, TOKENS_PER_SECOND

pytestmark = pytest.mark.e2e

PROMPT_TOKENS = 30_000
BUSY_SECONDS = 600.0
USERS = 24
"""More than the engine takes at once."""


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A verified server with tensor parallelism."""
    arguments = {**ARGUMENTS, "--tensor-parallel-size": "2"}
    with serving(tmp_path_factory.mktemp("tensor-parallel"), arguments=arguments) as server:
        server.wait()
        yield server


def workers(server: Server) -> list[int]:
    """pids of the engine's workers."""
    found = subprocess.run(["pgrep", "-P", str(server.engine())], capture_output=True, text=True, check=True)
    return [pid for pid in map(int, found.stdout.split()) if b"Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_worker_that_hangs_is_seen_once_somebody_asks(of_two_workers: Server) -> None:
    server = of_two_workers
    stopped = workers(server)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        _, stop, _ = use("127.0.0.1", server.port, 1)
        wait_until(lambda: server.get(LIVE_PATH)[0] == 503, within=CONFIG.stall_seconds + 5, what="it is seen")
        assert "the engine has not answered for" in server.get(LIVE_PATH)[1]
    finally:
        stop.set()
        os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: server.get(LIVE_PATH) == (200, "ok"), within=10, what="it is well again")


def test_a_worker_that_was_killed_is_seen_at_once(of_two_workers: Server) -> None:
    server = of_two_workers
    os.kill(workers(server)[1], signal.SIGKILL)
    wait_until(lambda: server.get(LIVE_PATH)[0] in (503, 0), within=2, what="it is seen")


@pytest.mark.load
def test_one_that_is_busy_is_no_false_alarm(tmp_path: Path) -> None:
    """More users than it takes at once, and prompts of 30,000 tokens without end, for ten minutes: probed as by a
    kubelet, five times as often."""
    config = replace(CONFIG, stall_seconds=STALL_SECONDS + STEP_TOKENS // TOKENS_PER_SECOND, verify=None)
    arguments = {**ARGUMENTS, "--max-model-len": "32768", "--max-num-seqs": "8", "--max-num-batched-tokens": "8192"}
    with serving(tmp_path, config, arguments) as server:
        server.wait()
        tally, stop, users = use("127.0.0.1", server.port, USERS, Ask(model=NAME))
        prompts: list[float] = []
        reader = threading.Thread(target=long_prompts, args=(server.port, stop, prompts), daemon=True)
        reader.start()
        alarms, answers, until = [], [], time.monotonic() + BUSY_SECONDS
        while time.monotonic() < until:
            began = time.monotonic()
            status, words = server.get(LIVE_PATH)
            answers.append(time.monotonic() - began)
            if status != 200 or answers[-1] > TIMEOUT:
                alarms.append(f"{status} {words} after {answers[-1]:.1f} s")
            time.sleep(PERIOD / 5)
        stop.set()
        for user in (*users, reader):
            user.join(180)
    print(f"{len(answers)} probes, slowest {max(answers):.2f} s; long prompts {[round(it, 1) for it in prompts]}")
    print(tally.as_json())
    assert not alarms
    assert prompts, "no long prompt was read"
    assert tally.ok > USERS


def long_prompts(port: int, stop: threading.Event, seconds: list[float]) -> None:
    """Have prompts of PROMPT_TOKENS read until the stop; each is another, so that none is read from the cache."""
    while not stop.is_set():
        number, began = len(seconds), time.monotonic()
        prompt = [1 + (number + token * 7) % 500 for token in range(PROMPT_TOKENS)]
        body = json.dumps({"model": NAME, "prompt": prompt, "max_tokens": 4}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        assert response.status == 200, text[:300]
        seconds.append(time.monotonic() - began)

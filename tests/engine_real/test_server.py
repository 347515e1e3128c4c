"""The middleware inside a real vLLM (its CPU build): who gets users, who is restarted, and how one goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from images.vllm_bundle import bundle
from tests.cluster.waiting import wait_until
from tests.engine_real.server import ARGUMENTS, CHECKPOINT, CONFIG, NAME, Server, serving
from tests.load import libraries
from tests.load.balancer import Balancer
from tests.load.clients import use

from qwen3_in_engine.server.contract import EXIT_WRONG_ANSWERS, LIVE_PATH, READY_PATH

pytestmark = pytest.mark.e2e

PRE_STOP = Path(__file__).parents[2] / "in_engine/qwen3_in_engine/server/pre_stop.py"
PROPAGATES_SECONDS = 1.0
"""How long a Service goes on sending connections to a pod that is ending."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers that were verified."""
    with serving(tmp_path_factory.mktemp("one")) as one, serving(tmp_path_factory.mktemp("other")) as other:
        one.wait()
        other.wait()
        yield one, other


def test_a_right_server_is_verified_within_seconds(two: tuple[Server, Server]) -> None:
    for server in two:
        (line,) = [line for line in server.log.splitlines() if "qwen3: verified in" in line]
        print(line)
        assert "seen: models, thinking, answer, tool call, prompts" in line
        assert server.get(READY_PATH) == (200, "ok")


def test_users_of_pooled_connections_lose_nothing_when_one_goes(two: tuple[Server, Server]) -> None:
    going, staying = two
    balancer = Balancer([going.port, staying.port])
    tally, stop, users = use("127.0.0.1", balancer.port, 4)
    others = subprocess.Popen(
        [sys.executable, libraries.__file__, f"http://127.0.0.1:{balancer.port}", NAME],
        env={**os.environ, "PYTHONPATH": str(bundle())},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert others.stdout is not None
    assert others.stdout.readline() == "served\n"
    wait_until(lambda: tally.ok >= 10, within=60, what="users are served")
    threading.Timer(PROPAGATES_SECONDS, lambda: balancer.endpoints.remove(going.port)).start()
    hook = [sys.executable, str(PRE_STOP), str(going.port), "3", "33", str(going.folder)]
    subprocess.run(hook, check=True, timeout=60)
    going.process.send_signal(signal.SIGTERM)
    assert going.process.wait(60) == 0
    served = tally.ok
    wait_until(lambda: tally.ok >= served + 10, within=60, what="the other server serves on")
    stop.set()
    others.terminate()
    told = json.loads(others.communicate(timeout=120)[0])
    for user in users:
        user.join(60)
    balancer.close()
    print(tally.as_json(), {name: it["ok"] for name, it in told.items()})
    assert {name: it["lost"] for name, it in told.items()} == {name: [] for name in libraries.USERS}
    assert tally.ok >= 30
    assert not tally.failures, tally.as_json()


def test_an_engine_that_hangs_is_seen(two: tuple[Server, Server]) -> None:
    """And one that was only away for a moment is not."""
    _, server = two
    core = server.engine()
    os.kill(core, signal.SIGSTOP)
    try:
        time.sleep(CONFIG.stall_seconds / 2)
        assert server.get(LIVE_PATH)[0] == 200
        began = time.monotonic()
        while server.get(LIVE_PATH)[0] == 200:
            assert time.monotonic() - began < CONFIG.stall_seconds + 5
            time.sleep(0.5)
        status, words = server.get(READY_PATH)
        assert status == 503
        assert "the engine has not answered for" in words
    finally:
        os.kill(core, signal.SIGCONT)
    wait_until(lambda: server.get(LIVE_PATH) == (200, "ok"), within=10, what="it is well again")


def test_an_engine_that_was_killed_is_seen_at_once(two: tuple[Server, Server]) -> None:
    _, server = two
    os.kill(server.engine(), signal.SIGKILL)
    wait_until(lambda: server.get(LIVE_PATH)[0] in (503, 0), within=2, what="it is seen")


WRONG = {
    "parser": ({"--reasoning-parser": "deepseek_r1"}, "deepseek_r1"),
    "template": ({"--chat-template": "{template}"}, "chat template"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_server_gets_no_user(what: str, tmp_path: Path) -> None:
    changes, words = WRONG[what]
    broken = tmp_path / "broken.jinja"
    broken.write_text((CHECKPOINT / "chat_template.jinja").read_text().replace("message.content", "'x'"))
    arguments = {flag: value.format(template=broken) for flag, value in {**ARGUMENTS, **changes}.items()}
    assert CONFIG.verify is not None
    told = replace(CONFIG.verify, reasoning_parser=arguments["--reasoning-parser"])
    with serving(tmp_path, replace(CONFIG, verify=told), arguments) as server:
        seen = set()
        while server.process.poll() is None:
            seen.add(server.get(READY_PATH)[0])
            time.sleep(0.2)
        assert 200 not in seen
        assert server.process.returncode == EXIT_WRONG_ANSWERS
        assert words in server.log.rpartition("qwen3: AnswersWrong: ")[2]

"""The middleware inside a real vLLM (its CPU build): who gets users, who is restarted, and how one goes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from devcluster.golang import environment, find_go
from images.vllm_bundle import bundle
from tests.cluster.waiting import wait_until
from tests.engine_real.server import ARGUMENTS, CHECKPOINT, CONFIG, NAME, Server, serving
from tests.load import libraries
from tests.load.balancer import Balancer
from tests.load.clients import Tally, use
from tests.load.nginx import proxy

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


def test_users_of_pooled_connections_lose_nothing_when_one_goes(two: tuple[Server, Server], tmp_path: Path) -> None:
    going, staying = two
    balancer = Balancer([going.port, staying.port])
    with proxy(tmp_path / "nginx", balancer.port) as behind, others(tmp_path, balancer.port) as programs:
        direct, stop, users = use("127.0.0.1", balancer.port, 4)
        proxied, stop_proxied, users_of_proxy = use("127.0.0.1", behind, 2)
        for tally in (direct, proxied):
            wait_until(partial(_served, tally, 10), within=60, what="users are served")
        threading.Timer(PROPAGATES_SECONDS, lambda: balancer.endpoints.remove(going.port)).start()
        hook = [sys.executable, str(PRE_STOP), str(going.port), "3", "33", str(going.folder)]
        subprocess.run(hook, check=True, timeout=60)
        going.process.send_signal(signal.SIGTERM)
        assert going.process.wait(60) == 0
        for tally in (direct, proxied):
            wait_until(partial(_served, tally, tally.ok + 10), within=60, what="the other serves on")
        stop.set()
        stop_proxied.set()
        reported: dict[str, Any] = {}
        for program in programs:
            program.terminate()
            reported |= json.loads(program.communicate(timeout=120)[0])
        for user in (*users, *users_of_proxy):
            user.join(60)
    balancer.close()
    print(direct.as_json(), proxied.as_json(), {name: it["ok"] for name, it in reported.items()})
    assert {name: it["lost"] for name, it in reported.items()} == {name: [] for name in (*libraries.USERS, "go")}
    for tally in (direct, proxied):
        assert tally.ok >= 20
        assert not tally.failures, tally.as_json()


def _served(tally: Tally, requests: int) -> bool:
    return tally.ok >= requests


@contextlib.contextmanager
def others(folder: Path, port: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Users by client libraries, each a program that was served once: Python's and curl, and Go's."""
    go_user = folder / "go-user"
    build: list[str | Path] = [find_go(), "build", "-o", go_user, "."]
    subprocess.run(build, cwd=Path(libraries.__file__).parent / "go_user", env=environment(), check=True)
    url = f"http://127.0.0.1:{port}"
    commands = ([sys.executable, libraries.__file__, url, NAME], [str(go_user), url, NAME])
    variables = {**os.environ, "PYTHONPATH": str(bundle())}
    with contextlib.ExitStack() as stack:
        found = []
        for command in commands:
            program = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
            found.append(stack.enter_context(program))
            stack.callback(program.kill)
        for program in found:
            assert program.stdout is not None
            assert program.stdout.readline() == "served\n"
        yield found


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


@pytest.mark.nightly
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_server_gets_no_user(what: str, tmp_path: Path) -> None:
    changes, words = WRONG[what]
    broken = tmp_path / "broken.jinja"
    broken.write_text((CHECKPOINT / "chat_template.jinja").read_text().replace("message.content", "'x'"))
    arguments = {flag: value.format(template=broken) for flag, value in {**ARGUMENTS, **changes}.items()}
    assert CONFIG.verify is not None
    reported = replace(CONFIG.verify, reasoning_parser=arguments["--reasoning-parser"])
    with serving(tmp_path, replace(CONFIG, verify=reported), arguments) as server:
        assert ended_unseen(server) == EXIT_WRONG_ANSWERS
        assert words in server.log.rpartition("qwen3: AnswersWrong: ")[2]


def ended_unseen(server: Server) -> int:
    """Its exit code; until then it has never said that it is ready."""
    while (code := server.process.poll()) is None:
        assert server.get(READY_PATH)[0] != 200
        time.sleep(0.2)
    return code


def swap_tokenizer(checkpoint: Path) -> None:
    """That of another model: the same words by other numbers, special ones apart."""
    file = checkpoint / "tokenizer.json"
    it = json.loads(file.read_text())
    vocabulary = it["model"]["vocab"]
    special = {token["content"] for token in it["added_tokens"]}
    words = [word for word in vocabulary if word not in special]
    vocabulary |= dict(zip(words, [vocabulary[word] for word in reversed(words)], strict=True))
    file.write_text(json.dumps(it))


def truncate_weights(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (swap_tokenizer, EXIT_WRONG_ANSWERS, "qwen3: AnswersWrong: "),
        (truncate_weights, 1, "safetensor"),  # vLLM's own word
    ],
    ids=["tokenizer", "weights"],
)
def test_a_spoilt_checkpoint_gets_no_user(spoil: Callable[[Path], None], code: int, words: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, checkpoint)
    spoil(checkpoint)
    with serving(tmp_path, checkpoint=checkpoint) as server:
        assert ended_unseen(server) == code
        assert words in server.log
        print(server.log.rpartition(words)[2].splitlines()[0])

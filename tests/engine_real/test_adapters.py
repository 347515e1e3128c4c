"""LoRA adapters in a real vLLM (its CPU build): they come, change and go without a restart, and are there after one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.waiting import wait_until
from tests.data.make_tiny_adapter import make_adapter
from tests.engine_real.server import ARGUMENTS, CONFIG, NAME, Server, serving
from tests.unit.in_engine.mounts import Volume

from qwen3_in_engine.server.contract import ADAPTERS_VARIABLE, READY_PATH

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

LORA = {"--enable-lora": "", "--max-lora-rank": "16", "--max-loras": "2", "--max-cpu-loras": "32"}


@dataclass
class Listed:
    """A server, and the list of its adapters as the kubelet mounts it."""

    server: Server
    volume: Volume
    folder: Path

    def want(self, **adapters: str) -> None:
        """Have these names, each for a folder of `self.folder`."""
        write(self.volume, self.folder, **adapters)

    def ask(self, model: str) -> tuple[int, str]:
        """Status, and what the model answers to the same question."""
        return self.post(
            "/v1/completions", {"model": model, "prompt": "ping", "temperature": 0, "max_tokens": 12}, "text"
        )

    def post(self, path: str, body: Any, field: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text)["choices"][0][field] if field and response.status == 200 else text

    def served(self) -> set[str]:
        return {model["id"] for model in json.loads(self.server.get("/v1/models")[1])["data"]}

    def said(self) -> dict[str, Any]:
        """What the server said last of its adapters."""
        lines = [line for line in self.server.log.splitlines() if "qwen3: adapters {" in line]
        found: dict[str, Any] = json.loads(lines[-1].partition("adapters ")[2])
        return found


def write(volume: Volume, folder: Path, **adapters: str) -> None:
    listed = [{"name": name, "path": str(folder / path)} for name, path in adapters.items()]
    version = ",".join(f"{name}={path}" for name, path in adapters.items())
    volume.write({"adapters.json": json.dumps({"version": version, "adapters": listed})})


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    make_adapter(folder / "sql", seed=1)
    make_adapter(folder / "sql2", seed=2)
    make_adapter(folder / "law", seed=3, rank=16)
    make_adapter(folder / "large", seed=4, rank=64)
    return folder


@contextlib.contextmanager
def start(folder: Path, adapters: Path, volume: Volume) -> Iterator[Listed]:
    folder.mkdir()
    variables = {ADAPTERS_VARIABLE: str(volume.folder / "adapters.json")}
    with serving(folder, CONFIG, {**ARGUMENTS, **LORA}, variables) as server:
        server.wait()
        yield Listed(server, volume, adapters)


def is_ready(it: Listed) -> bool:
    return it.server.get(READY_PATH)[0] == 200


def test_the_life_of_an_adapter(tmp_path: Path, adapters: Path) -> None:
    (tmp_path / "list").mkdir()
    volume = Volume(tmp_path / "list", {})
    write(volume, adapters, sql="sql")
    with start(tmp_path / "first", adapters, volume) as it:
        wait_until(lambda: is_ready(it), within=30)
        assert it.served() == {NAME, "sql"}, "ready only with what the list names"
        answers = {name: it.ask(name)[1] for name in (NAME, "sql")}
        engine = it.server.engine()

        it.want(sql="sql", law="law")
        wait_until(lambda: it.ask("law")[0] == 200, within=30)
        answers["law"] = it.ask("law")[1]
        assert len(set(answers.values())) == 3

        it.want(sql="sql2", law="law")
        wait_until(lambda: it.ask("sql")[1] != answers["sql"], within=30)
        assert is_ready(it)
        assert it.ask("law")[1] == answers["law"] and it.ask(NAME)[1] == answers[NAME]

        it.want(sql="sql", law="law", large="large", lost="lost")
        wait_until(lambda: set(it.said()["failed"]) == {"large", "lost"}, within=30)
        assert "rank 64 is greater than max_lora_rank 16" in it.said()["failed"]["large"]
        assert it.ask("sql")[1] == answers["sql"], "the first revision's answer, and none of the other's from a cache"
        assert is_ready(it), "what vLLM refuses takes nothing from the others"

        it.want(law="law")
        wait_until(lambda: it.ask("sql")[0] == 404, within=30)
        assert it.served() == {NAME, "law"} and it.server.engine() == engine

        for route in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"):
            status, _ = it.post(route, {"lora_name": "law", "lora_path": str(adapters / "sql"), "name": "law"})
            assert status in (404, 405), f"{route} is open"
        os.kill(it.server.process.pid, signal.SIGKILL)
        it.server.process.wait(30)

    with start(tmp_path / "second", adapters, volume) as again:
        wait_until(lambda: is_ready(again), within=30)
        assert again.ask("law") == (200, answers["law"]) and again.ask(NAME) == (200, answers[NAME])

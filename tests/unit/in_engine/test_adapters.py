"""The server's adapters follow the list: loaded, replaced, taken away; what vLLM refuses disturbs no other."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.in_engine.mounts import Clock, Volume

from qwen3_in_engine.server import adapters as module
from qwen3_in_engine.server.adapters import RETRY_SECONDS, SAY_SECONDS, Adapters, adapters_of
from qwen3_in_engine.server.contract import ADAPTERS_VARIABLE
from qwen3_in_engine.server.mounted import READ_SECONDS


@dataclass
class Models:
    """As vLLM's OpenAIServingModels: a text where it did, an error where it did not."""

    served: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    async def load_lora_adapter(self, request: Any) -> Any:
        self.calls.append(f"load {request.lora_name}")
        if request.lora_path in self.broken:
            return SimpleNamespace(error=SimpleNamespace(message=f"rank 64 is greater\n than 16 {'x' * 999}"))
        if request.lora_name in self.served and not request.load_inplace:
            return SimpleNamespace(error=SimpleNamespace(message="has already been loaded"))
        self.served[request.lora_name] = request.lora_path
        return "Success"

    async def unload_lora_adapter(self, request: Any) -> Any:
        self.calls.append(f"unload {request.lora_name}")
        if self.served.get(request.lora_name) in self.broken:
            raise RuntimeError("the engine is busy")
        if request.lora_name not in self.served:
            return SimpleNamespace(error=SimpleNamespace(message="cannot be found", code=404))
        del self.served[request.lora_name]
        return "Success"


@dataclass
class Bench:
    """A list, a clock, and vLLM's handler."""

    volume: Volume
    clock: Clock
    adapters: Adapters
    models: Models = field(default_factory=Models)

    def want(self, version: str = "1", **paths: str) -> None:
        listed = [{"name": name, "path": path} for name, path in paths.items()]
        self.volume.write({"adapters.json": json.dumps({"version": version, "adapters": listed})})

    def follow(self, seconds: float = READ_SECONDS) -> None:
        self.clock.now += seconds
        asyncio.run(self.adapters.follow(self.models))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    volume, clock = Volume(tmp_path, {"adapters.json": '{"version": "0", "adapters": []}'}), Clock()
    return Bench(volume, clock, Adapters(tmp_path / "adapters.json", clock))


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [line.removeprefix("qwen3: adapters ") for line in capsys.readouterr().err.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_the_server_has_what_the_list_says(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.follow()
    assert said(capsys) == [{"version": "0", "served": [], "failed": {}}]
    bench.want("1", sql="/m/sql", law="/m/law")
    bench.follow()
    assert bench.models.served == {"sql": "/m/sql", "law": "/m/law"}
    bench.want("2", law="/m/law2", art="/m/art")
    bench.follow()
    assert bench.models.served == {"law": "/m/law2", "art": "/m/art"}
    assert bench.models.calls == ["load sql", "load law", "unload sql", "load law", "load art"]
    assert said(capsys)[-1] == {"version": "2", "served": ["art", "law"], "failed": {}}


def test_nothing_is_asked_while_nothing_changes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.want(sql="/m/sql")
    for _ in range(9):
        bench.follow()
    assert bench.models.calls == ["load sql"] and len(said(capsys)) == 1
    bench.follow(SAY_SECONDS)
    assert bench.models.calls == ["load sql"] and len(said(capsys)) == 1, (
        "it is logged again for who reads the log later"
    )


def test_a_refused_adapter_is_reported_and_tried_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.models.broken = {"/m/bad"}
    bench.want(bad="/m/bad", sql="/m/sql")
    bench.follow()
    assert bench.models.served == {"sql": "/m/sql"}
    words = said(capsys)[-1]["failed"]["bad"]
    assert words.startswith("rank 64 is greater than 16") and len(words) <= 200
    bench.follow()
    assert bench.models.calls == ["load bad", "load sql"]
    bench.models.broken = set()
    bench.follow(RETRY_SECONDS)
    assert bench.models.calls[2:] == ["load bad"] and said(capsys)[-1]["served"] == ["bad", "sql"]


def test_another_copy_that_is_refused_leaves_the_one_before(bench: Bench) -> None:
    bench.want(sql="/m/sql")
    bench.follow()
    bench.models.broken = {"/m/sql2"}
    bench.want("2", sql="/m/sql2")
    bench.follow()
    assert bench.models.served == {"sql": "/m/sql"}


def test_an_adapter_that_could_not_be_taken_away_is_tried_again_and_known(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.want(sql="/m/sql", law="/m/law")
    bench.follow()
    bench.models.broken = {"/m/sql"}
    bench.want("2", law="/m/law")
    bench.follow()
    assert said(capsys)[-1]["served"] == ["law", "sql"], "as it is"
    bench.want("3", sql="/m/sql2", law="/m/law")
    bench.follow()
    assert bench.models.served == {"sql": "/m/sql2", "law": "/m/law"}, "in the place of the one that is there"
    bench.models.broken, bench.models.served = set(), {"law": "/m/law"}
    bench.want("4", law="/m/law")
    bench.follow()
    assert said(capsys)[-1] == {"version": "4", "served": ["law"], "failed": {}}, "what is not there is gone"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"adapters": [1]}', '{"adapters": {"a": 1}}'])
def test_a_list_that_cannot_be_read_leaves_that_of_before(bench: Bench, text: str) -> None:
    bench.want(sql="/m/sql")
    bench.follow()
    bench.volume.write({"adapters.json": text})
    bench.follow()
    assert bench.models.served == {"sql": "/m/sql"}
    bench.want("3", law="/m/law")
    bench.follow()
    assert bench.models.served == {"law": "/m/law"}


def test_a_vllm_that_we_do_not_know_serves_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.want(sql="/m/sql")

    async def scenario() -> None:
        task = asyncio.create_task(bench.adapters.watch(lambda: None))
        while not bench.adapters.settled:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()

    monkeypatch.setattr(module, "READ_SECONDS", 0)
    asyncio.run(scenario())


def test_a_server_is_not_ready_before_a_list_was_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.volume.write({"adapters.json": "{"})

    async def turns(number: int) -> None:
        for _ in range(number):
            bench.clock.now += READ_SECONDS
            await asyncio.sleep(0)

    async def scenario() -> None:
        task = asyncio.create_task(bench.adapters.watch(lambda: bench.models))
        await turns(9)
        assert not bench.adapters.settled
        bench.want(sql="/m/sql")
        await turns(9)
        assert bench.adapters.settled and bench.models.served == {"sql": "/m/sql"}
        bench.volume.write({"adapters.json": "{"})
        await turns(9)
        assert bench.adapters.settled
        task.cancel()

    monkeypatch.setattr(module, "READ_SECONDS", 0)
    asyncio.run(scenario())


def test_the_variable_says_where_the_list_is(tmp_path: Path) -> None:
    assert adapters_of({}) is None
    assert adapters_of({ADAPTERS_VARIABLE: str(tmp_path / "adapters.json")}) is not None

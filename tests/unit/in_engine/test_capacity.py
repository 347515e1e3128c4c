"""What a server measures of itself before it has users: the sweep, the client's process, and who waits for whom."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_in_engine.capacity import measurement
from qwen3_in_engine.capacity.client import arguments, step_of
from qwen3_in_engine.capacity.contract import VARIABLE, Benchmark, Step, knows
from qwen3_in_engine.capacity.measurement import Measurement, base_url, batch_of, measurement_of
from qwen3_in_engine.capacity.sweep import ended_by, fast_enough, next_concurrency, requests_of
from qwen3_in_engine.capacity.turn import Turn
from qwen3_in_engine.server.contract import READY_PATH, STARTED_PATH, Config
from qwen3_in_engine.server.gate import Gate
from qwen3_in_engine.server.middleware import ServerMiddleware

TARGET = 2000
LIKE: Any = {"server": ("127.0.0.1", 8000)}
REPORTS = """
import json, os, sys, time
from qwen3_in_engine.capacity.contract import VARIABLE, Benchmark
it = Benchmark.from_text(os.environ[VARIABLE])
assert sys.argv[1:] == ["http://127.0.0.1:8000", "64"], sys.argv
assert os.environ["NO_PROXY"] == "*"
print("noise of vLLM", file=sys.stderr)
for n in (1, 2, 4, 3):
    print(json.dumps({"concurrency": n, "tokens_per_second": 50 * n, "ttft_milliseconds": 700 * n}), flush=True)
"""
FAILS = REPORTS + "sys.exit('ValueError: no tokenizer, and the key is ' + os.environ['OPENAI_API_KEY'])"
HANGS = REPORTS.replace("(1, 2, 4, 3)", "(1,)") + "time.sleep(600)"


def benchmark(folder: Path, **given: Any) -> Benchmark:
    reported: dict[str, Any] = {
        "key": "k1",
        "file": str(folder / "capacity.json"),
        "model": "/models/m",
        "name": "Qwen3-8B",
        "input_tokens": 1024,
        "output_tokens": 256,
        "ttft_milliseconds": TARGET,
        "max_seconds": 30,
        "most": 64,
    }
    return Benchmark(**reported | given)


def client(folder: Path, text: str) -> tuple[str, str]:
    """A program in the place of vLLM's benchmark."""
    script = folder / "client.py"
    script.write_text(text)
    return sys.executable, str(script)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "gpu_name", lambda: "NVIDIA L4")


@asynccontextmanager
async def running(it: Measurement, ends: Any = lambda: False) -> AsyncIterator[None]:
    task = asyncio.create_task(it.run(LIKE, ends))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def until_settled(it: Measurement) -> None:
    await until(lambda: it.settled)


def result_in(text: str) -> dict[str, Any]:
    lines = [line for line in text.splitlines() if line.startswith("qwen3: capacity ")]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("qwen3: capacity "))
    return found


async def measured(it: Measurement, capfd: pytest.CaptureFixture[str]) -> str:
    """What a measurement wrote."""
    async with running(it):
        await until_settled(it)
        text = ""
        async with asyncio.timeout(10):
            while "qwen3: capacity " not in text:
                await asyncio.sleep(0)
                text += capfd.readouterr().err
    return text


@given(bears=st.integers(0, 300), most=st.integers(1, 256))
def test_the_sweep_ends_near_what_a_server_bears(bears: int, most: int) -> None:
    steps: list[Step] = []
    while (n := next_concurrency(steps, TARGET, most)) is not None:
        assert n <= most and n not in [s.concurrency for s in steps]
        steps.append(Step(n, n, TARGET if n <= bears else TARGET + 1))
    found = fast_enough(steps, TARGET)
    assert found <= min(bears, most)
    assert 5 * found >= 4 * min(bears, most) - 4, "within a quarter"
    assert len(steps) <= 13
    assert ended_by(steps, TARGET, most) == ("batch" if bears >= most else "target")


def test_a_step_sends_as_many_as_it_needs_and_reports_failures() -> None:
    assert [requests_of(n) for n in (1, 2, 64)] == [4, 6, 192]
    good = {"completed": 6, "output_throughput": 104.6, "p95_ttft_ms": 812.3}
    assert step_of(good, 2) == Step(2, 105, 812)
    with pytest.raises(ValueError, match="1 of 6 requests failed, 2 at the same time"):
        step_of(good | {"completed": 5}, 2)


def test_the_command_has_the_flags_that_the_release_has(tmp_path: Path) -> None:
    known = {"--max-concurrency", "--seed", "--ignore-eos", "--model"}
    words = arguments("http://x", 8, benchmark(tmp_path), "f", known)
    assert words == ["--model", "Qwen3-8B", "--max-concurrency", "8", "--seed", "8", "--ignore-eos"]


async def test_what_the_client_reports_is_written_and_the_server_gets_users(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    it = Measurement(benchmark(tmp_path), Turn(tmp_path), client(tmp_path, REPORTS))
    text = await measured(it, capfd)
    found = result_in(text)
    assert found["steps"] == [[1, 50, 700], [2, 100, 1400], [4, 200, 2800], [3, 150, 2100]]
    assert (found["key"], found["gpu"], found["endedBy"], found["error"]) == ("k1", "NVIDIA L4", "target", "")
    assert it.settled and not it.running
    assert len(text) < 4096


async def test_a_client_that_fails_keeps_no_server_from_its_users(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "the-users-own-key")
    it = Measurement(benchmark(tmp_path), Turn(tmp_path), client(tmp_path, FAILS))
    text = await measured(it, capfd)
    found = result_in(text)
    assert found["endedBy"] == "failure" and found["error"] == "ValueError: no tokenizer, and the key is …"
    assert len(found["steps"]) == 4, "what was measured before counts"
    assert "the-users-own-key" not in text


async def test_one_that_cannot_be_started_neither(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = await measured(Measurement(benchmark(tmp_path), Turn(tmp_path), ["/no/such/program"]), capfd)
    assert "No such file" in result_in(text)["error"] and result_in(text)["steps"] == []


async def test_one_that_hangs_is_killed_when_the_time_is_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    it = Measurement(benchmark(tmp_path, max_seconds=3), Turn(tmp_path), client(tmp_path, HANGS))
    found = result_in(await measured(it, capfd))
    assert found["endedBy"] == "time" and found["steps"] == [[1, 50, 700]] and found["seconds"] <= 5
    assert not _runs(str(tmp_path / "client.py"))


async def test_who_is_to_stop_measures_no_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ending = False
    it = Measurement(benchmark(tmp_path), Turn(tmp_path), client(tmp_path, HANGS))
    async with running(it, lambda: ending):
        await until(lambda: "1 at the same time" in capfd.readouterr().err)
        ending = True
        await until_settled(it)
    assert "qwen3: capacity" not in capfd.readouterr().err
    assert not _runs(str(tmp_path / "client.py"))


async def test_who_finds_a_result_does_not_measure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    it = Measurement(benchmark(tmp_path), Turn(tmp_path), ["/no/such/program"])
    (tmp_path / "capacity.json").write_text(json.dumps({"results": [{"key": "k1", "gpu": "NVIDIA L4"}]}))
    await it.run(LIKE, lambda: False)
    assert it.settled and "its capacity is known" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('{"results": [{"key": "k0", "gpu": "G"}, {"key": "k1", "gpu": "G"}]}', True),
        ('{"results": [{"key": "k1", "gpu": "another"}]}', False),
        ('{"results": [{"key": "k2", "gpu": "G"}]}', False),
        *((text, False) for text in ("", "[]", "{}", '{"results": 1}', '{"results": [1]}', "[" * 100_000)),
    ],
)
def test_a_result_is_of_one_key_and_one_gpu(text: str, known: bool) -> None:
    assert knows(text.encode(), "k1", "G") is known


async def test_of_several_processes_one_measures_and_all_wait(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = REPORTS.replace("for n", f"\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)\nfor n")
    one = Measurement(benchmark(tmp_path), Turn(tmp_path, 1), client(tmp_path, slow))
    other = Measurement(benchmark(tmp_path), Turn(tmp_path, 2), ["/no/such/program"])
    async with running(one):
        await until(lambda: one.running)
        async with running(other):
            await until(lambda: other.running)
            assert not other.settled
            own = [(b"authorization", f"Bearer {Turn(tmp_path).key()}".encode())]
            assert one.asks(own) and other.asks(own), "its requests come to any of them"
            (tmp_path / "go").touch()
            await until_settled(other)
            await until_settled(one)
            assert not other.asks(own) and not one.asks(own), "nobody gets in by it later"
    assert capfd.readouterr().err.count("measures its capacity") == 1
    assert (tmp_path / Turn(tmp_path)._file.name).stat().st_mode & 0o077 == 0


def test_what_a_server_gets(tmp_path: Path) -> None:
    assert measurement_of({}, tmp_path) is None
    it = benchmark(tmp_path)
    assert Benchmark.from_text(it.as_text()) == it
    assert measurement_of({VARIABLE: it.as_text()}, tmp_path) is not None
    for wrong in ("{}", "[]", "no", '{"key": 1}'):
        with pytest.raises(ValueError, match=r"no benchmark|Expecting value"):
            measurement_of({VARIABLE: wrong}, tmp_path)


def test_where_and_how_much_is_asked() -> None:
    assert base_url({"server": ("10.0.0.7", 8000)}) == "http://10.0.0.7:8000"
    assert base_url({"server": ("fd00::7", 8000)}) == "http://[fd00::7]:8000"
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=96))
    assert batch_of(SimpleNamespace(vllm_config=config)) == 96
    assert batch_of(None) == 0


class _Keys:
    teams: set[str] = {"a"}

    def team_of(self, headers: Any) -> None:
        return None


async def test_a_server_is_not_ready_before_and_asks_itself_past_the_gate(tmp_path: Path) -> None:
    it = Measurement(benchmark(tmp_path), Turn(tmp_path), client(tmp_path, HANGS))
    seen: list[str] = []
    counted: list[Any] = []

    async def vllm(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"vllm:num_requests_running 8"})

    counts: Any = SimpleNamespace(show=lambda teams: None, request=lambda *it: counted.append(it))
    gate = Gate(_Keys(), SimpleNamespace(), counts)  # type: ignore[arg-type]
    server = ServerMiddleware(vllm, Config(folder=str(tmp_path)), gate, None, it)
    app = SimpleNamespace(state=SimpleNamespace(engine_client=None, server=None))

    async def ask(path: str, key: str = "") -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
        method = "POST" if path.endswith("completions") else "GET"
        await server(
            {**LIKE, "type": "http", "path": path, "method": method, "headers": headers, "app": app}, receive, send
        )
        return sent[0]["status"], sent[1]["body"]

    try:
        async with asyncio.timeout(20):
            assert (await ask(STARTED_PATH))[0] == 200
            assert await ask(READY_PATH) == (503, b"its capacity is being measured")
            await until(lambda: it.running)
        assert await ask(READY_PATH) == (503, b"its capacity is being measured")
        assert await ask("/metrics") == (200, b""), "no load of users"
        assert (await ask("/v1/completions", Turn(tmp_path).key()))[0] == 200
        assert not counted and seen == ["/v1/completions"]
        assert (await ask("/v1/completions", "another"))[0] == 401
        it.settled, it.running = True, False
        assert (await ask(READY_PATH))[0] == 200
        assert (await ask("/metrics"))[1].startswith(b"vllm:")
        assert (await ask("/v1/completions", Turn(tmp_path).key()))[0] == 401, "it is over"
    finally:
        for task in list(server._tasks):
            task.cancel()
        await asyncio.gather(*server._tasks, return_exceptions=True)


def _runs(script: str) -> bool:
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and script.encode() in (entry / "cmdline").read_bytes():
                return True
    return False

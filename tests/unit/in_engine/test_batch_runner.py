"""The parts of the batch runner that need no process: the ledger of deaths, the meter, what is said of the progress."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_in_engine.batch_runner import engine, run
from qwen3_in_engine.batch_runner.answers import Tally
from qwen3_in_engine.batch_runner.asking import Asker
from qwen3_in_engine.batch_runner.contract import AGAIN, BAD_INPUT, BAD_OUTPUT, Config, Stop
from qwen3_in_engine.batch_runner.ledger import Ledger
from qwen3_in_engine.batch_runner.meter import Meter, totals
from qwen3_in_engine.batch_runner.report import Progress, failure, last_words
from qwen3_in_engine.batch_runner.source import Source
from qwen3_in_engine.batch_runner.store import volume_errors
from qwen3_in_engine.batch_runner.wire import Address, Unreachable
from qwen3_in_engine.verify.answer import Answer


class Clock:
    """Time that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def ledger(path: Path, *finished: int) -> Ledger:
    """A ledger that was opened."""
    it = Ledger(path)
    it.open(lambda index: index in finished)
    return it


def test_what_was_asked_when_a_pod_was_killed_is_suspected(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    first = ledger(path)
    first.started()
    for index in (1, 2, 3, 2):
        first.asked(index)
    assert dict(ledger(path, 3).deaths) == {1: 1, 2: 1}, "without a word of its end"
    assert dict(ledger(path, 3).deaths) == {1: 1, 2: 1}, "and it is counted once"


def test_what_is_ended_by_us_kills_nobody(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    first = ledger(path)
    first.started()
    first.asked(1)
    first.ended()
    assert not ledger(path).deaths


def test_deaths_narrow_down_to_the_line(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    it = ledger(path)
    for _ in range(2):
        it.started()
        for index in range(40):
            it.asked(index)
        it.died(set(range(40)), None)
    assert {it.group_of(index) for index in range(40)} == {1}
    it.started()
    it.died({7, 8}, None)
    assert [it.group_of(index) for index in (6, 7, 8)] == [1, 2, 2]
    it.started()
    it.asked_alone(7)
    it.died({7}, 7)
    assert it.condemned == {7}
    again = ledger(path)
    assert (again.condemned, again.deaths[8], again.deaths[6]) == ({7}, 3, 2)


def test_a_pod_that_was_killed_with_one_line_alone_condemns_it(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    first = ledger(path)
    first.started()
    first.asked_alone(5)
    assert ledger(path).condemned == {5}


def test_a_damaged_ledger_accuses_nobody(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    path.write_bytes(b"C [{broken\nS\nx\nA\n\xff\n")
    assert not ledger(path).deaths


METRICS = """# HELP vllm:generation_tokens_total x
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a b"} 30.0
vllm:generation_tokens_total{engine="1",model_name="a b"} 12.0
vllm:prompt_tokens_total{engine="0"} 7.0
vllm:prompt_tokens_total_by_source{engine="0"} 99.0
vllm:generation_tokens_created{engine="0"} 1.7e+09
"""


def test_tokens_are_added_up_over_engines() -> None:
    assert totals(METRICS) == {"vllm:generation_tokens_total": 42.0, "vllm:prompt_tokens_total": 7.0}
    assert totals("vllm:generation_tokens_total nonsense\n\x00") == {}


def counted(tokens: int) -> str:
    return f"vllm:generation_tokens_total {tokens}\n"


def test_the_rate_is_there_before_a_line_is_finished() -> None:
    clock = Clock()
    progress = Progress(0, 10, 10, Tally(), now=clock)
    progress.meter = Meter(clock)
    progress.meter.read(counted(0))
    clock.now += 5
    progress.meter.read(counted(500))
    rates = progress.rates()
    assert (rates["tokensPerSecond"], "etaSeconds" in rates) == (100, False)
    assert progress.meter.moved_at == clock.now


def test_what_is_half_done_counts_for_the_time_to_go() -> None:
    clock, tally = Clock(), Tally()
    progress = Progress(0, 10, 10, tally, now=clock)
    progress.meter = Meter(clock)
    progress.meter.read(counted(0))
    clock.now += 10
    tally.done, tally.completion_tokens = 2, 200
    progress.meter.read(counted(600))
    assert progress.rates()["etaSeconds"] == round((8 * 100 - 400) / 60)
    progress.running = 4
    words = progress.words(progress.rates())
    assert words == "2 of 10 lines of shard 0 are finished, 4 are running, 60 tokens/s, about 7 s to go"
    text = progress.metrics()
    assert 'qwen3_batch_lines{shard="0",state="running"} 4' in text
    assert 'qwen3_batch_tokens_per_second{shard="0"} 60' in text


def test_an_engine_that_stands_still_is_seen() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.read(counted(5))
    clock.now += 100
    meter.read(counted(5))
    meter.read("")  # metrics that cannot be read say nothing
    meter.read(counted(5))
    assert clock.now - meter.moved_at == 100


def test_what_was_made_before_the_first_line_counts_for_none() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.begin(counted(300))
    clock.now += 1
    meter.read(counted(300))
    assert (meter.generated, meter.tokens_per_second()) == (0, 0)
    clock.now += 1
    meter.read(counted(350))
    assert (meter.generated, meter.tokens_per_second()) == (50, 50)


VOLUME_ERRORS = [
    (errno.EIO, AGAIN, "VolumeError"),
    (errno.ESTALE, AGAIN, "VolumeError"),
    (errno.ETIMEDOUT, AGAIN, "VolumeError"),
    (errno.EACCES, BAD_INPUT, "InputNotReadable"),
    (errno.ENOENT, BAD_INPUT, "InputNotFound"),
]


@pytest.mark.parametrize("kept", [True, False], ids=["in memory", "read again"])
def test_the_lines_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    if not kept:
        monkeypatch.setattr("qwen3_in_engine.batch_runner.source.MOST_KEPT", 3)
    path = tmp_path / "in"
    path.write_bytes(b"\xef\xbb\xbfzero\r\none\ntwo\nthree\nfour")
    source, seen = Source(path, 0, 2), []
    summary = source.read(lambda index, line: seen.append((index, line)))
    assert (summary.lines, len(source)) == (5, 3)
    assert seen == [(0, b"zero"), (2, b"two"), (4, b"four")]
    assert list(source.lines(iter(range(3)))) == seen


def test_of_a_large_input_only_what_is_asked_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there was room for is in memory."""
    lines = [f"{n:06}\n".encode() for n in range(30_000)]
    room = sum(sys.getsizeof(line) + 8 for line in lines[:10_000])
    monkeypatch.setattr("qwen3_in_engine.batch_runner.source.MOST_KEPT", room)
    path = tmp_path / "in"
    path.write_bytes(b"".join(lines))
    source = Source(path, 0, 1)
    source.read(lambda index, line: None)
    with path.open("r+b") as file:  # what was kept is not read
        file.write(bytes(sum(map(len, lines[:10_000]))))
    os.truncate(path, sum(map(len, lines[:20_000])))  # nor what comes after
    found = source.lines(iter(range(0, 20_000, 2)))
    assert next(found) == (0, b"000000")
    assert [line + b"\n" for _, line in found] == lines[2:20_000:2]


def test_reading_ends_on_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"a\nb\n")
    source = Source(path, 0, 1)
    source.closed = True
    with pytest.raises(Stop):
        source.read(lambda index, line: None)


@pytest.mark.parametrize(("number", "code", "reason"), VOLUME_ERRORS)
def test_what_a_volume_refuses_for_a_moment_is_the_next_pods_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, reason: str
) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"a\nb\n")
    monkeypatch.setattr("qwen3_in_engine.batch_runner.source.MOST_KEPT", 0)
    source = Source(path, 0, 1)
    source.read(lambda index, line: None)

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fails)
    for read in (lambda: Source(path, 0, 1).read(lambda index, line: None), lambda: source.line(1)):
        with pytest.raises(Stop) as stop:
            read()
        assert (stop.value.code, stop.value.reason) == (code, reason) and str(path) in str(stop.value)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (errno.EIO, AGAIN, "VolumeError"),
        (errno.ENOSPC, BAD_OUTPUT, "OutputFull"),
        (errno.EROFS, BAD_OUTPUT, "OutputNotWritable"),
    ],
)
def test_so_it_is_with_the_output(number: int, code: int, reason: str) -> None:
    with pytest.raises(Stop) as stop, volume_errors(Path("/out")):
        raise OSError(number, os.strerror(number))
    assert (stop.value.code, stop.value.reason) == (code, reason)


ANSWERS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", b"hi"),
    (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nhi", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi", None),
    (b"nonsense\r\n\r\n", None),
    (b"", None),
]


@pytest.mark.parametrize(("sent", "body"), ANSWERS, ids=[str(number) for number in range(len(ANSWERS))])
async def test_answers_as_servers_send_them(tmp_path: Path, sent: bytes, body: bytes | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"authorization: bearer k" in head.lower()
        await reader.readexactly(2)
        writer.write(sent)
        writer.close()

    path = str(tmp_path / "s")
    async with await asyncio.start_unix_server(serve, path):
        asked = Address(socket=path, key="k").ask("POST", "/x", b"{}")
        if body is None:
            with pytest.raises(Unreachable):
                await asked
        else:
            assert (await asked).body == body


def test_a_line_whose_answer_never_comes_whole_is_given_up_though_the_queue_was_full_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    class Full(engine.OwnEngine):
        async def _is_alive(self) -> bool:
            return True

    async def ask(self: Address, method: str, path: str, body: bytes = b"") -> Answer:
        nonlocal asked
        asked += 1
        if asked == 1:
            return Answer(429, b"the queue is full")
        raise Unreachable("an answer of more than 256 MiB")

    monkeypatch.setattr(Address, "ask", ask)
    monkeypatch.setattr(engine, "AGAIN_SECONDS", 0)

    async def answer() -> Answer:
        async with asyncio.timeout(5):
            return await Full(Config(namespace="n", name="b", fingerprint="", input="", output="")).ask("/", b"")

    assert asyncio.run(answer()).status == 429
    assert asked == 1 + engine.TRIES


Ask = Callable[[], Answer]


def gone() -> Answer:
    raise Unreachable("ConnectionRefusedError")


def without_prompt(status: int) -> Ask:
    return lambda: Answer(status, b'{"error": {"message": "no"}}')


class Chats:
    """A server's API: it answers each chat; `/detokenize` as `texts` say one after the other, and then well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *texts: Ask) -> None:
        self.texts = list(texts)
        self.asked: list[str] = []
        monkeypatch.setattr(Address, "ask", self.ask)
        monkeypatch.setattr(engine, "AGAIN_SECONDS", 0.0)

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        self.asked.append(path)
        if path == "/detokenize":
            return self.texts.pop(0)() if self.texts else Answer(200, b'{"prompt": "<|im_start|>user hello"}')
        said = {"choices": [{"message": {"content": "hi"}, "token_ids": [1]}], "prompt_token_ids": [1, 2]}
        return Answer(200, json.dumps(said).encode())


class Kept:
    """What was written, by index."""

    def __init__(self) -> None:
        self.lines: dict[int, Any] = {}

    def put(self, index: int, line: str) -> None:
        self.lines[index] = json.loads(line)


async def answered(folder: Path, server: Callable[[Config], engine.Server]) -> Any:
    """The line that one chat comes to, with its prompt."""
    (folder / "in").write_text('{"prompt": "hello"}\n')
    config = Config(
        namespace="n",
        name="b",
        fingerprint="",
        input=str(folder / "in"),
        output=str(folder / "out"),
        include_prompt=True,
        models=("m",),
        url="http://chat:8000",
        concurrency=1,
    )
    source, kept = Source(folder / "in", 0, 1), Kept()
    source.read(lambda index, line: None)
    asker = Asker(config, source, bytearray(1), ledger(folder / "asked"), Tally(), kept)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await asker.answer(lambda: server(config), lambda _: None, server(config))
    return kept.lines[0]


@pytest.mark.parametrize("trouble", [gone, without_prompt(503), without_prompt(429), without_prompt(500)])
async def test_a_server_that_goes_between_answer_and_prompt_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Ask
) -> None:
    Chats(monkeypatch, trouble)
    line = await answered(tmp_path, engine.RunningServer)
    assert line["error"] is None and line["response"]["body"]["prompt"] == "<|im_start|>user hello"


async def test_what_is_no_text_of_the_prompt_is_the_lines_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Chats(monkeypatch, without_prompt(404))
    line = await answered(tmp_path, engine.RunningServer)
    assert line["error"]["code"] == "server_error" and "no text of the prompt: HTTP 404" in line["error"]["message"]


async def test_an_engine_that_dies_between_answer_and_prompt_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mortal(engine.OwnEngine):
        async def start(self) -> None: ...

        async def _is_alive(self) -> bool:
            return False

    it = Chats(monkeypatch, gone)
    line = await answered(tmp_path, Mortal)
    assert line["error"] is None
    assert it.asked == ["/v1/chat/completions", "/detokenize"] * 2, "the line of the engine that died is asked again"


def test_the_last_words_of_a_shard_say_what_is_finished_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_server(*_: object) -> None:
        raise Stop(AGAIN, "KeyRefused", "the servers refuse the key")

    words, config = tmp_path / "words", tmp_path / "config.json"
    words.touch()
    monkeypatch.setenv("TERMINATION_LOG", str(words))
    monkeypatch.setattr(run, "first_server", no_server)
    (tmp_path / "in").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / ".out.parts").mkdir()
    answered = {"response": {"body": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, "error": None}
    (tmp_path / ".out.parts/shard-00000").write_text(f"0\t{json.dumps(answered)}\n")
    it = Config(namespace="team", name="nightly", fingerprint="", input=str(tmp_path / "in"), output=f"{tmp_path}/out")
    config.write_text(json.dumps(it.as_json()))
    assert run.main(["runner", str(config)]) == AGAIN
    said = json.loads(words.read_text())
    counts = {"total": 2, "lines": 2, "done": 1, "failed": 0, "promptTokens": 3, "completionTokens": 4}
    assert said | counts == said and said["reason"] == "KeyRefused"


@pytest.mark.parametrize(
    "message",
    ["x" * 9000, '"\n' * 3000, "中" * 3000, "\ud800 half of a character"],
    ids=["long", "escaped", "wide", "no text"],
)
def test_the_last_words_are_whole_for_the_kubelet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    target = tmp_path / "words"
    target.touch()
    monkeypatch.setenv("TERMINATION_LOG", str(target))
    last_words(failure(3, Stop(1, "RunnerFailed", message), {"done": 2}))
    text = target.read_bytes()
    assert len(text) <= 4096
    said = json.loads(text)
    assert (said["reason"], said["done"]) == ("RunnerFailed", 2) and len(said["message"]) > 20

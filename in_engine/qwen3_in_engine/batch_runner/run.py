"""One shard: read, ask, write, until every line of it is on the volume; the last shard puts the parts together."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from qwen3_in_engine.batch_runner import lines
from qwen3_in_engine.batch_runner.answers import Answer, Tally, answer_line, error_line
from qwen3_in_engine.batch_runner.contract import AGAIN, BAD_ARGUMENTS, SUCCESS, Config, Stop, Terminated
from qwen3_in_engine.batch_runner.lines import BadLine, Request
from qwen3_in_engine.batch_runner.report import Progress, failure, last_words, say
from qwen3_in_engine.batch_runner.store import Store
from qwen3_in_engine.batch_runner.vllm_engine import VllmEngine


class Engine(Protocol):
    """What a shard asks of its engine."""

    room: int
    """Requests that it may hold at once."""

    @property
    def waiting(self) -> int:
        """Requests that it holds."""

    def add(self, request: Request) -> None:
        """Take a request. Raises BadLine."""

    def step(self) -> Iterable[tuple[int, Answer]]:
        """Work a little; (index, answer) of what is finished."""


def main(argv: Sequence[str], make_engine: Callable[[Config], Engine] = VllmEngine) -> int:
    """Run the shard $JOB_COMPLETION_INDEX of the configuration argv[1]. Returns the exit code."""
    config = Config.from_json(json.loads(Path(argv[1]).read_text(encoding="utf-8")))
    shard = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        last_words(Shard(config, shard).run(make_engine))
    except Stop as stop:
        last_words(failure(shard, stop))
        return stop.code
    except Exception as error:
        traceback.print_exc()
        last_words(failure(shard, Stop(AGAIN, "RunnerFailed", f"{type(error).__name__}: {error}")))
        return AGAIN
    except Terminated:
        words = "told to end; what is finished is on the volume, the next pod continues"
        last_words(failure(shard, Stop(AGAIN, "Terminated", words)))
        return AGAIN
    return SUCCESS


def _on_sigterm(*_: Any) -> None:
    raise Terminated


class Shard:
    """The work of one process."""

    def __init__(self, config: Config, shard: int) -> None:
        self.config, self.shard = config, shard
        self.store, self.tally = Store(config, shard), Tally()
        self._finished = bytearray()
        """1 for each line of the shard that was finished before, by its place in the shard."""
        self._batch = f"{config.namespace}-{config.name}"

    def run(self, make_engine: Callable[[Config], Engine]) -> dict[str, Any]:
        """Do what is missing. Returns the report; raises Stop."""
        source = Path(self.config.input)
        summary = lines.summarize(source)
        self.store.claim(summary)
        total = len(range(self.shard, summary.lines, self.config.shards))
        progress = Progress(self.shard, total, summary.lines, self.tally)
        report: dict[str, Any] = {"result": "Complete"}
        if (counts := self.store.counts()) is None:
            self._finished = bytearray(total)
            self.store.open_part(self._resume)
            if self.tally.finished:
                say({"event": "resumed"} | progress.counts())
            if self.tally.finished < total:
                progress = self._answer(source, make_engine, progress)
            counts = progress.counts()
            self.store.done(counts)
            report |= progress.rates()
        merged = self.store.merge_if_last(summary.lines)
        if self.store.merged:
            self.store.remove_parts()
        return report | counts | {"merged": merged or self.store.merged}

    def _resume(self, index: int, line: dict[str, Any]) -> None:
        place = index // self.config.shards
        if place < len(self._finished) and not self._finished[place]:
            self._finished[place] = 1
            self.tally.recount(line)

    def _answer(self, source: Path, make_engine: Callable[[Config], Engine], progress: Progress) -> Progress:
        """Answer the lines that are not finished. Returns the progress, counted from when the engine was ready."""
        engine = _start(make_engine, self.config)
        progress = Progress(self.shard, progress.total, progress.lines, self.tally)
        progress.tell(force=True)
        todo = lines.shard_lines(source, self.shard, self.config.shards)
        pending: dict[int, Request] = {}
        with _Writer(self.store) as writer:
            more = True
            while more or engine.waiting:
                while more and engine.waiting < engine.room:
                    item = next(todo, None)
                    more = item is not None
                    if item is not None and not self._finished[item[0] // self.config.shards]:
                        self._ask(engine, *item, pending, writer)
                for index, answer in _step(engine):
                    request = pending.pop(index)
                    name, prompt = self.config.model_name, self.config.include_prompt
                    writer.put(index, answer_line(self._batch, request, answer, name, include_prompt=prompt))
                    self.tally.count(answer)
                progress.tell()
        return progress

    def _ask(self, engine: Engine, index: int, line: bytes, pending: dict[int, Request], writer: _Writer) -> None:
        """Give a line to the engine; where it cannot be answered, its error is its answer."""
        try:
            request = lines.parse(line, index, text=self.config.text, chat=self.config.chat)
            engine.add(request)
            pending[index] = request
        except BadLine as error:
            writer.put(index, error_line(self._batch, index, error))
            self.tally.count(None)


def _start(make_engine: Callable[[Config], Engine], config: Config) -> Engine:
    try:
        return make_engine(config)
    except SystemExit as error:
        code = BAD_ARGUMENTS if error.code == BAD_ARGUMENTS else AGAIN
        raise Stop(code, "EngineArgumentsRefused", "vLLM refuses its arguments: see the pod's log") from error
    except Exception as error:
        traceback.print_exc()  # the operator finds the cause in the log, as it does for servers
        raise Stop(AGAIN, "EngineStartFailed", f"vLLM's engine does not start: {error}") from error


def _step(engine: Engine) -> Iterable[tuple[int, Answer]]:
    try:
        yield from engine.step()
    except Exception as error:
        raise Stop(AGAIN, "EngineDied", f"vLLM's engine died: {type(error).__name__}: {error}") from error


class _Writer:
    """Writes finished lines in a thread of its own: the engine does not wait for the volume, and all that is
    finished while one write is synced goes with the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._error: Stop | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all is on the volume. Raises what kept it from there."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def put(self, index: int, line: str) -> None:
        """Hand over a line. Raises Stop where the volume took no more."""
        if self._error:
            raise self._error
        self._queue.put((index, line))

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            try:
                if self._error is None and (records := [item for item in batch if item is not None]):
                    self._store.append(records)
            except Stop as stop:
                self._error = stop
            except Exception as error:  # the thread must not end unseen
                self._error = Stop(AGAIN, "RunnerFailed", f"{type(error).__name__}: {error}")

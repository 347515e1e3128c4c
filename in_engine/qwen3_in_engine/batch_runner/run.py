"""One shard: read, ask, write, until every line of it is on the volume; the last shard puts the parts together."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.answers import Tally
from qwen3_in_engine.batch_runner.asking import Asker
from qwen3_in_engine.batch_runner.check import first_server
from qwen3_in_engine.batch_runner.contract import AGAIN, DELIVER, SUCCESS, Config, Stop
from qwen3_in_engine.batch_runner.deliver import deliver
from qwen3_in_engine.batch_runner.engine import OwnEngine, RunningServer, Server
from qwen3_in_engine.batch_runner.ledger import Ledger
from qwen3_in_engine.batch_runner.lines import BadLine, parse
from qwen3_in_engine.batch_runner.report import Progress, failure, last_words, say
from qwen3_in_engine.batch_runner.source import Source, Summary
from qwen3_in_engine.batch_runner.store import Store, volume_errors
from qwen3_in_engine.batch_runner.watch import Watch, serve_metrics, stopped
from qwen3_in_engine.batch_runner.writer import Writer


def main(argv: Sequence[str]) -> int:
    """Run the shard $JOB_COMPLETION_INDEX of the configuration argv[1], or deliver what is finished of all shards.
    Returns the exit code."""
    config = Config.from_json(json.loads(Path(argv[1]).read_text(encoding="utf-8")))
    shard = Shard(config, int(os.environ.get("JOB_COMPLETION_INDEX", "0")))
    try:
        if argv[2:3] == [DELIVER]:
            last_words(deliver(config, code=argv[3], why=argv[4]))
        else:
            _allow_many_files()
            last_words(asyncio.run(_until_terminated(shard)))
        return SUCCESS
    except Stop as error:
        stop = error
    except Exception as error:
        traceback.print_exc()
        stop = Stop(AGAIN, "RunnerFailed", f"{type(error).__name__}: {error}")
    except asyncio.CancelledError:
        stop = Stop(AGAIN, "Terminated", "told to end; what is finished is on the volume, the next pod continues")
    last_words(failure(shard.shard, stop, shard.counts()))
    return stop.code


async def _until_terminated(shard: Shard) -> dict[str, Any]:
    task = asyncio.ensure_future(shard.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _allow_many_files() -> None:
    """Each line in flight has a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Shard:
    """The work of one process."""

    def __init__(self, config: Config, shard: int) -> None:
        self.config, self.shard = config, shard
        self.store, self.tally = Store(config, shard), Tally()
        self.source = Source(Path(config.input), shard, config.shards)
        self.ledger = Ledger(self.store.ledger)
        self.counts: Callable[[], dict[str, Any]] = dict
        """What is finished of the shard; nothing before its part is read."""
        self._finished = bytearray()
        """1 for each line of the shard that is finished, by its place in the shard."""

    async def run(self) -> dict[str, Any]:
        """Do what is missing. Returns the report; raises Stop."""
        self.store.check_owner()
        counts, report = self.store.counts(), {"result": "Complete"}
        first_good, engine = asyncio.Event(), None
        if counts is None:
            engine = asyncio.ensure_future(self._engine_when(first_good))
        else:
            self.counts = counts.copy
        try:
            summary = await self._read(first_good)
            self.store.claim(summary)
            progress = Progress(self.shard, len(self.source), summary.lines, self.tally)
            if counts is None:
                assert engine is not None
                report |= await self._answer(progress, engine, first_good)
                counts = progress.counts()
                self.store.done(counts)
        finally:
            self.source.closed = True
            if engine is not None:
                await _ended(engine)
        merged = self.store.merge_if_last(summary.lines)
        if self.store.merged:
            self.store.remove_parts()
        return report | counts | {"merged": merged or self.store.merged}

    async def _read(self, first_good: asyncio.Event) -> Summary:
        """Read the input in a thread: the engine loads meanwhile, once there is a line for it."""
        loop, found = asyncio.get_running_loop(), False

        def seen(index: int, line: bytes) -> None:
            nonlocal found
            if not found and (found := self._is_good(line, index)):
                loop.call_soon_threadsafe(first_good.set)

        return await loop.run_in_executor(None, self.source.read, seen)

    def _is_good(self, line: bytes, index: int) -> bool:
        try:
            parse(line, index, self.config)
        except BadLine:
            return False
        return True

    def _server(self) -> Server:
        return RunningServer(self.config) if self.config.url else OwnEngine(self.config)

    async def _engine_when(self, needed: asyncio.Event) -> Server:
        await needed.wait()
        return await first_server(self._server, self.config)

    async def _answer(
        self, progress: Progress, engine: asyncio.Future[Server], first_good: asyncio.Event
    ) -> dict[str, Any]:
        """Answer the lines that are not finished. Returns the rates, counted from when the engine was ready."""
        self._finished = bytearray(len(self.source))
        self.store.open_part(self._resume)
        self.counts = progress.counts
        with volume_errors(self.store.output):
            self.ledger.open(self._is_finished)
        if self.tally.finished:
            say({"event": "resumed"} | progress.counts())
        if self.tally.finished == len(self.source):
            return progress.rates()
        with Writer(self.store) as writer:
            asker = Asker(self.config, self.source, self._finished, self.ledger, self.tally, writer)
            if not first_good.is_set():
                self._refuse_all(asker)
                return progress.rates()
            server = await engine
            progress = Progress(self.shard, progress.total, progress.lines, self.tally)
            await self._ask(asker, server, progress)
        return progress.rates()

    async def _ask(self, asker: Asker, server: Server, progress: Progress) -> None:
        watch = Watch(progress, asker, self.config.stall_seconds)
        watch.ready(server)
        progress.report(force=True)
        metrics = await serve_metrics(watch)
        watching = asyncio.ensure_future(watch.work())
        asking = asyncio.ensure_future(asker.answer(self._server, watch.ready, server))
        try:
            await asyncio.wait({asking, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                watching.result()
            await asking
        except asyncio.CancelledError:
            self.ledger.ended()
            raise
        finally:
            await stopped(asking)
            await stopped(watching)
            if metrics is not None:
                metrics.close()

    def _refuse_all(self, asker: Asker) -> None:
        """A shard without one good line starts no engine."""
        for index, line in self.source.lines(asker.unfinished()):
            try:
                parse(line, index, self.config)
            except BadLine as error:
                asker.fail(index, error)

    def _is_finished(self, index: int) -> bool:
        place = self.source.place_of(index)
        return place >= len(self._finished) or bool(self._finished[place])

    def _resume(self, index: int, line: dict[str, Any]) -> None:
        place = self.source.place_of(index)
        if place < len(self._finished) and not self._finished[place]:
            self._finished[place] = 1
            self.tally.recount(line)


async def _ended(engine: asyncio.Future[Server]) -> None:
    """End an engine that is there or on its way."""
    engine.cancel()
    try:
        server = await engine
    except (asyncio.CancelledError, Exception):
        return
    await server.end()

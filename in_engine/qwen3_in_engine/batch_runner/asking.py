"""Asking the lines of a shard: so many at once that the engine never waits, and what kills it apart from the rest."""

from __future__ import annotations

import asyncio
import json
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from qwen3_in_engine.batch_runner.answers import Tally, Usage, answer_line, error_line, refusal
from qwen3_in_engine.batch_runner.contract import AGAIN, DIED, Config, Stop
from qwen3_in_engine.batch_runner.defaults import Body, completed
from qwen3_in_engine.batch_runner.engine import EngineDied, Server, started
from qwen3_in_engine.batch_runner.ledger import GROUP, Ledger
from qwen3_in_engine.batch_runner.lines import CHAT, BadLine, Request, custom_id_of, parse
from qwen3_in_engine.batch_runner.source import Source
from qwen3_in_engine.batch_runner.wire import Unreachable
from qwen3_in_engine.batch_runner.writer import Writer
from qwen3_in_engine.verify.answer import Answer

MOST_BYTES = 256 << 20
"""Of requests in flight: images stand in them."""
STEP, STEP_SECONDS = 64, 0.2
"""Requests in flight grow by so many in so much time. vLLM's server reads all that it has in turns: of two thousand at
once the engine gets the first when the last has been read, seconds later."""
FRUITLESS_DEATHS = 3
"""An engine that died so often in this pod, and nothing was finished in between, may live on another node."""
_LIMIT_WORDS = ("max_tokens", "max_completion_tokens", "context length")


class Asker:
    """Asks the lines of one shard that are not finished."""

    def __init__(
        self, config: Config, source: Source, finished: bytearray, ledger: Ledger, tally: Tally, writer: Writer
    ) -> None:
        self._config, self._source, self._finished = config, source, finished
        self._ledger, self._tally, self._writer = ledger, tally, writer
        self._batch = f"{config.namespace}-{config.name}"
        self._bytes, self._freed = 0, asyncio.Event()
        self._was_well = False
        self.in_flight: set[int] = set()

    def unfinished(self) -> Iterator[int]:
        """Places in the shard of the lines that are missing."""
        return (place for place, done in enumerate(self._finished) if not done)

    def fail(self, index: int, error: BadLine) -> None:
        """Finish a line with an error."""
        self._put(index, error_line(self._batch, index, error), None)

    async def answer(
        self, make: Callable[[], Server], ready: Callable[[Server | None], None], server: Server | None
    ) -> None:
        """Answer what is missing. `server`: one that is ready already; `make`: another after its death; `ready`: shown
        each that is. Raises Stop."""
        fruitless = 0
        while True:
            self._fail_condemned()
            if all(self._finished):
                return
            if server is None:
                server = await started(make())
            ready(server)
            before, self._was_well = self._tally.finished, False
            try:
                if server.mortal:
                    self._ledger.started()
                await self._answer_all(server)
                self._ledger.ended()
                return
            except EngineDied:
                fruitless = 1 if self._was_well or self._tally.finished > before else fruitless + 1
                if fruitless >= FRUITLESS_DEATHS:
                    words = f"vLLM's engine died {fruitless} times, and answered nothing in between"
                    raise Stop(AGAIN, "EngineDied", f"{words}: see the pod's log") from None
            finally:
                ready(None)
                await server.end()
            server = None

    async def _answer_all(self, server: Server) -> None:
        """The lines under no suspicion all at once, then small groups of others, then each of the last alone."""
        groups: list[list[int]] = [[], [], []]
        if self._ledger.deaths:
            for place in self.unfinished():
                groups[self._ledger.group_of(self._source.index_of(place))].append(place)
            first: Iterable[int] = groups[0]
        else:
            first = self.unfinished()
        await self._all_of(server, iter(first), server.room)
        for begin in range(0, len(groups[1]), GROUP):
            await self._see_that_it_is_well(server)
            await self._all_of(server, iter(groups[1][begin : begin + GROUP]), GROUP)
        for place in groups[2]:
            await self._alone(server, place)

    async def _alone(self, server: Server, place: int) -> None:
        """Only an engine that has just answered something else dies of this line."""
        index = self._source.index_of(place)
        await self._see_that_it_is_well(server)
        self._ledger.asked_alone(index)
        await self._all_of(server, iter([place]), 1, alone=index)

    async def _see_that_it_is_well(self, server: Server) -> None:
        """Raises EngineDied where it cannot answer anything: then no line is to blame."""
        try:
            self._was_well = await server.answers()
        except Unreachable:
            self._was_well = False
        if not self._was_well:
            raise EngineDied

    def _fail_condemned(self) -> None:
        for index in sorted(self._ledger.condemned):
            place = self._source.place_of(index)
            if not self._finished[place]:
                custom_id = custom_id_of(self._source.line(place), index, self._config)
                words = "vLLM's engine dies of it: it did whenever it had this line, and at last when it had no other"
                self.fail(index, BadLine(DIED, f"line {index + 1}: {words}", custom_id))

    async def _all_of(self, server: Server, places: Iterator[int], room: int, alone: int | None = None) -> None:
        lines = self._source.lines(places)
        workers: list[asyncio.Task[None]] = []
        try:
            over = False  # a worker ends when no line is left, or the engine has died
            while len(workers) < room and not over:
                more = min(STEP, room - len(workers))
                workers += [asyncio.create_task(self._work(server, lines, alone)) for _ in range(more)]
                over = bool((await asyncio.wait(workers, timeout=STEP_SECONDS, return_when=FIRST_COMPLETED))[0])
            await asyncio.gather(*workers)
        except EngineDied:
            self._ledger.died(set(self.in_flight), alone)
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self.in_flight.clear()

    async def _work(self, server: Server, lines: Iterator[tuple[int, bytes]], alone: int | None) -> None:
        """Ask one line after the other."""
        for index, line in lines:
            if self._finished[self._source.place_of(index)]:
                continue
            try:
                request = parse(line, index, self._config)
                body = completed(request, self._config, server.known(request.path))
            except BadLine as error:
                self.fail(index, error)
                await asyncio.sleep(0)  # a million bad lines must not keep the loop from everything else
                continue
            self.in_flight.add(index)
            if server.mortal and alone is None:
                self._ledger.asked(index)
            await self._ask(server, request, body)
            self.in_flight.discard(index)

    async def _ask(self, server: Server, request: Request, body: Body) -> None:
        encoded = body.encoded()
        while self._bytes and self._bytes + len(encoded) > MOST_BYTES:
            self._freed.clear()
            await self._freed.wait()
        self._bytes += len(encoded)
        try:
            reply = await server.ask(request.path, encoded)
            # Longer than what the prompt leaves: then what it leaves.
            if reply.status == 400 and _of_limit(reply) and (longest := body.as_long_as_may_be()):
                reply = await server.ask(request.path, longest.encoded())
        finally:
            self._bytes -= len(encoded)
            self._freed.set()
        await self._take(server, request, body, reply)
        server.meter.touch()

    async def _take(self, server: Server, request: Request, body: Body, reply: Answer) -> None:
        if reply.status != 200:
            self.fail(request.index, refusal(request, reply))
            return
        content = reply.body
        try:
            answer = reply.json()
            if self._config.include_prompt and isinstance(answer, dict):
                content = await self._with_prompt(server, request, body, answer)
            line = answer_line(self._batch, request, content)
        except (ValueError, KeyError) as error:
            words = f"line {request.index + 1}: the server's answer cannot be read: {error}"
            self.fail(request.index, BadLine("server_error", words, request.custom_id))
            return
        self._put(request.index, line, Usage.of(answer))

    async def _with_prompt(self, server: Server, request: Request, body: Body, answer: dict[str, Any]) -> bytes:
        """The answer with `prompt`: what the model saw."""
        asked = body.fields
        if request.path == CHAT:
            answer["prompt"] = await server.text_of(answer["prompt_token_ids"])
        elif "prompt" in asked:
            answer["prompt"] = asked["prompt"]
        if "return_token_ids" not in request.body:
            for said in (answer, *answer.get("choices", ())):
                for name in ("token_ids", "prompt_token_ids"):
                    said.pop(name, None)
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()

    def _put(self, index: int, line: str, usage: Usage | None) -> None:
        self._writer.put(index, line)
        self._finished[self._source.place_of(index)] = 1
        self._tally.count(usage)


def _of_limit(reply: Answer) -> bool:
    text = reply.body[:4000].decode("utf-8", "replace")
    return any(word in text for word in _LIMIT_WORDS)

"""Who answers the lines: vLLM's own server, started in this pod on a Unix socket, or one that runs elsewhere.

A line goes through the same request handlers as a user's request, whatever the vLLM: templates, parsers, tools, schemas
and their refusals are the server's. The server is a process of its own, so that its death is not ours: what is finished
is written, and the next engine is started in the same pod.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.contract import AGAIN, BAD_ARGUMENTS, KEY_VARIABLE, Config, Stop
from qwen3_in_engine.batch_runner.meter import Meter
from qwen3_in_engine.batch_runner.wire import Address, Unreachable
from qwen3_in_engine.verify.answer import Answer

POLL_SECONDS = 0.25
PROBE_SECONDS = 10.0
DEATH_SECONDS = 30.0
"""Between an engine's last word and the end of its process."""
END_SECONDS = 10.0
ROOM, ROOM_FACTOR = 2048, 2
"""Lines in flight: twice what vLLM runs at once (1,024 at most by its own defaults), so that it never waits for us."""
TRIES = 3
"""Times that a line is asked whose answer is the server's own mistake."""
AGAIN_SECONDS = 0.5
TOO_MUCH = 429
BUSY = (TOO_MUCH, 502, 503, 504)
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class EngineDied(Exception):
    """The engine is gone, and what it had with it."""


class Server(ABC):
    """A server that is asked, and what is known of its API."""

    mortal = False
    """Whether lines are suspected of its death."""

    def __init__(self, config: Config, address: Address) -> None:
        self._config, self._address = config, address
        self._known: dict[str, Set[str]] = {}
        self.meter = Meter()

    @property
    @abstractmethod
    def room(self) -> int:
        """Lines that it has at once."""

    @abstractmethod
    async def start(self) -> None:
        """Be ready to ask. Raises Stop."""

    @abstractmethod
    async def ask(self, path: str, body: bytes) -> Answer:
        """The answer to a request; of a refusal, or of the server's own mistake, its words. Raises EngineDied, Stop."""

    @abstractmethod
    async def insist(self, method: str, path: str, body: bytes) -> Answer:
        """The same with any method. Raises Unreachable where no answer comes."""

    @abstractmethod
    async def end(self) -> None:
        """Let it go."""

    def known(self, path: str) -> Set[str]:
        """Fields that a request for `path` may have; empty: not known."""
        return self._known.get(path, frozenset())

    async def answers(self) -> bool:
        """Whether it answers something small. Raises Unreachable."""
        path, asked = "/v1/completions", {"prompt": "1", "max_tokens": 1}
        if self._config.task != "generate":
            path, asked = "/pooling", {"input": "1"}
        return (await self._address.ask("POST", path, self._of_our_own(asked))).status < 500

    async def text_of(self, tokens: list[int]) -> str:
        """The text of tokens, asked for like a line's answer: the server may go in between. Raises EngineDied, Stop,
        ValueError."""
        reply = await self.ask("/detokenize", self._of_our_own({"tokens": tokens}))
        said = reply.json() if reply.status == 200 else None
        if not isinstance(said, dict) or "prompt" not in said:
            raise ValueError(f"no text of the prompt: {reply.words()}")
        return str(said["prompt"])

    def _of_our_own(self, fields: Mapping[str, Any]) -> bytes:
        """A question of the runner's own."""
        model = {"model": self._config.models[0]} if self._config.models else {}
        return json.dumps({**model, **fields}).encode()

    async def _learn(self) -> None:
        """What requests may have, from the server's own description of its API."""
        with suppress(Unreachable, ValueError, KeyError, TypeError, AttributeError):
            reply = await asyncio.wait_for(self._address.ask("GET", "/openapi.json"), PROBE_SECONDS * 3)
            if reply.status == 200:
                self._known = _fields_by_path(reply.json())

    async def metrics(self) -> str:
        """Its metrics as text; empty where it has none."""
        with suppress(Unreachable, asyncio.TimeoutError, UnicodeDecodeError):
            reply = await asyncio.wait_for(self._address.ask("GET", "/metrics"), PROBE_SECONDS)
            if reply.status == 200:
                return reply.body.decode()
        return ""


async def started(server: Server) -> Server:
    """A server that is ready. Raises Stop, and leaves nothing running then."""
    try:
        await server.start()
    except BaseException:
        await server.end()
        raise
    return server


class OwnEngine(Server):
    """vLLM's server in this pod, for this shard alone."""

    mortal = True

    def __init__(self, config: Config) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="batch-")
        self._socket = str(Path(self._folder.name) / "vllm.sock")
        super().__init__(config, Address(socket=self._socket, key=os.environ.get(KEY_VARIABLE, "")))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def room(self) -> int:
        words = list(self._config.engine)
        at_once = words[words.index("--max-num-seqs") + 1] if "--max-num-seqs" in words[:-1] else ""
        room = ROOM_FACTOR * int(at_once) if at_once.isdecimal() else ROOM
        return min(self._config.concurrency or room, room)

    async def start(self) -> None:
        command = [*self._config.engine, "--uds", self._socket, "--disable-uvicorn-access-log"]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent
            )
        except OSError as error:
            raise Stop(BAD_ARGUMENTS, "EngineArgumentsRefused", f"{command[0]} cannot be run: {error}") from error
        deadline = time.monotonic() + self._config.startup_seconds
        while not await self._is_healthy():
            if self._process.returncode is not None:
                raise _not_started(self._process.returncode)
            if time.monotonic() > deadline:
                words = f"vLLM was not ready after {self._config.startup_seconds} s: see the pod's log"
                raise Stop(AGAIN, "EngineStartFailed", words)
            await asyncio.sleep(POLL_SECONDS)
        await self._learn()

    async def ask(self, path: str, body: bytes) -> Answer:
        try:
            return await self.insist("POST", path, body)
        except Unreachable as error:
            return Answer(500, str(error).encode())

    async def insist(self, method: str, path: str, body: bytes) -> Answer:
        reply, left = None, TRIES
        while left:
            busy = False
            with suppress(Unreachable):
                reply = await self._address.ask(method, path, body)
                busy = reply.status in BUSY  # its queue is full: no fault of the line's
                if reply.status < 500 and not busy:
                    return reply
            if not await self._is_alive():
                raise EngineDied
            left -= not busy
            await asyncio.sleep(AGAIN_SECONDS)
        if reply is None:
            raise Unreachable("the engine gave no answer")
        return reply

    async def end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), END_SECONDS)
        if process is not None:
            _signal(process.pid, signal.SIGKILL)  # its workers too: they hold the GPUs
            await process.wait()
        self._process = None
        self._folder.cleanup()

    async def _is_healthy(self) -> bool:
        with suppress(Unreachable, asyncio.TimeoutError):
            return (await asyncio.wait_for(self._address.ask("GET", "/health"), PROBE_SECONDS)).status == 200
        return False

    async def _is_alive(self) -> bool:
        """After an answer that was none: whether the engine is there all the same. A dying one is waited for."""
        assert self._process is not None
        if self._process.returncode is None and await self._is_healthy():
            return True
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), DEATH_SECONDS)
        return False


class RunningServer(Server):
    """Servers that run already, behind their Service."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Address(url=config.url, key=os.environ.get(KEY_VARIABLE, "")))
        self._heard_at = time.monotonic()

    @property
    def room(self) -> int:
        return self._config.concurrency or ROOM

    async def start(self) -> None:
        self._heard_at = time.monotonic()
        await self.insist("GET", "/v1/models", b"")
        await self._learn()

    async def ask(self, path: str, body: bytes) -> Answer:
        reply = await self.insist("POST", path, body)
        for _ in range(TRIES - 1):
            if reply.status < 500:
                break
            await asyncio.sleep(AGAIN_SECONDS)
            reply = await self.insist("POST", path, body)
        return reply

    async def end(self) -> None:
        """It runs on: it is its Qwen3Deployment's."""

    async def insist(self, method: str, path: str, body: bytes) -> Answer:
        """Ask until somebody answers: servers are restarted, scaled and replaced under a batch."""
        wait, wrong = AGAIN_SECONDS, ""
        while True:
            try:
                reply = await self._address.ask(method, path, body)
                if reply.status in (401, 403):
                    words = f"{self._config.url} refuses the batch's key: HTTP {reply.status}"
                    raise Stop(AGAIN, "KeyRefused", words)
                if reply.status not in BUSY or reply.status == TOO_MUCH:
                    self._heard_at = time.monotonic()  # a server with limits, or a full queue, is there
                if reply.status not in BUSY:
                    return reply
                wrong = f"HTTP {reply.status}"
            except Unreachable as error:
                wrong = str(error)
            if time.monotonic() - self._heard_at > self._config.stall_seconds:
                words = f"no server at {self._config.url} has answered for {self._config.stall_seconds} s: {wrong}"
                raise Stop(AGAIN, "ServerNotReachable", words)
            await asyncio.sleep(wait)
            wait = min(wait * 2, PROBE_SECONDS)


def _not_started(code: int) -> Stop:
    if code == BAD_ARGUMENTS:
        return Stop(BAD_ARGUMENTS, "EngineArgumentsRefused", "vLLM refuses its arguments: see the pod's log")
    return Stop(AGAIN, "EngineStartFailed", f"vLLM's server does not start (exit code {code}): see the pod's log")


def _end_with_parent() -> None:
    """In the new process: it is killed when the runner is."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _fields_by_path(description: Mapping[str, Any]) -> dict[str, Set[str]]:
    """Path -> fields of its request, from an OpenAPI description; requests of several kinds are left out."""
    schemas = description["components"]["schemas"]
    found: dict[str, Set[str]] = {}
    for path, methods in description["paths"].items():
        schema = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        name = str(schema.get("schema", {}).get("$ref", "")).rpartition("/")[2]
        if properties := schemas.get(name, {}).get("properties"):
            found[path] = frozenset(properties)
    return found

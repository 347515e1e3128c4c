"""The operator in this process: a thread with a loop of its own, and a connection that breaks where a test wants."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.process import Operator
from qwen3_operator.settings import Settings

WRITES = {"apply", "create", "update", "delete"}
START_SECONDS = 30.0
Answer = tuple[int, float | None, bytes]


class Crash(BaseException):
    """The process is gone: nothing in the operator may catch it."""


class Injector:
    """Sees every request of one operator; kills the operator at the write number `crash_at`.

    `stage` "before": the write is not sent; "after": it is done, and its answer never arrives.
    """

    def __init__(self, crash_at: int = 0, stage: str = "after") -> None:
        self.writes: list[str] = []
        """Writes that were sent, in order."""
        self.crashed = threading.Event()
        self._crash_at, self._stage = crash_at, stage
        self._number: dict[Any, int] = {}

    async def __call__(self, stage: str, verb: str, path: str) -> None:
        """The hook of Cluster."""
        if self.crashed.is_set():
            raise Crash
        if verb not in WRITES:
            return
        task = asyncio.current_task()
        if stage == "before":
            self._number[task] = len(self.writes) + 1
            if not self._is_due(task, stage):
                self.writes.append(f"{verb} {path}")
        if self._is_due(task, stage):
            self.crashed.set()
            raise Crash

    def _is_due(self, task: Any, stage: str) -> bool:
        return self._number[task] == self._crash_at and stage == self._stage


class Meanwhile(Injector):
    """Has `act` done, once, just before the operator's first write whose path ends with the pattern `path`."""

    def __init__(self, path: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._path, self._act = path, act
        self._done = False

    async def __call__(self, stage: str, verb: str, path: str) -> None:
        if stage == "before" and verb in WRITES and fnmatch(path, f"*{self._path}") and not self._done:
            self._done = True
            await asyncio.to_thread(self._act)
        await super().__call__(stage, verb, path)


class FaultyCluster(Cluster):
    """A connection that asks `fault` about each request; an answer of it stands for the API server's."""

    fault: Callable[[int, Callable[[], Awaitable[Answer]]], Awaitable[Answer]] | None = None
    requests = 0
    changes = 0
    writing = 0

    def __init__(self, configuration: Configuration, *, hook: Injector) -> None:
        super().__init__(configuration, hook=hook)
        self.created: list[str] = []

    async def _send(self, method: str, path: str, *rest: Any) -> Answer:
        self.requests += 1
        send = functools.partial(self._reach, method, path, *rest)
        self.writing += method != "GET"
        try:
            result = await (self.fault(self.requests, send) if self.fault is not None else send())
        finally:
            self.writing -= method != "GET"
        self.changes += method != "GET" and 200 <= result[0] < 300
        return result

    async def _reach(self, method: str, path: str, *rest: Any) -> Answer:
        """The API server's own answer, whatever the operator gets of it."""
        result = await super()._send(method, path, *rest)
        if result[0] == HTTPStatus.CREATED:
            self.created.append(path)
        return result


def _chain(coroutine: Any) -> str:
    """The functions that await each other, down to what all of them wait for."""
    names = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}" if frame else repr(coroutine))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return " < ".join(names)


class OperatorThread:
    """One operator for one namespace, without a Lease."""

    def __init__(self, kubeconfig: Path, namespace: str, hook: Injector, **settings: Any) -> None:
        self.hook = hook
        self.fault: Callable[[int, Callable[[], Awaitable[Answer]]], Awaitable[Answer]] | None = None
        self.requests = 0
        self._kubeconfig = kubeconfig
        self._settings = Settings.model_validate(
            {"namespaces": (namespace,), "lease_name": "", "http_port": 0, "http_host": "127.0.0.1", "workers": 4}
            | {"identity": "faults", "download_retry_seconds": 1}
            | settings
        )
        self._operator: Operator | None = None
        self._cluster: FaultyCluster | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"operator of {namespace}")

    def start(self) -> OperatorThread:
        """Start it and wait until it watches, or is dead already."""
        self._thread.start()
        if not self._watching.wait(START_SECONDS):
            raise TimeoutError("the operator does not watch")
        return self

    def stop(self) -> None:
        """End it as SIGTERM does, after a crash as well: nothing that it still wants reaches the API server.

        Its main task is not to be cancelled: at a bad moment kopf's own tasks then wait for each other for ever.
        """
        if self._thread.is_alive() and self._loop and self._operator:
            self._loop.call_soon_threadsafe(self._operator.stop)
        self._thread.join(20)
        assert not self._thread.is_alive(), f"the operator does not end\n{self._waiting()}"

    def _waiting(self) -> str:
        """What each of its tasks waits for."""
        tasks = asyncio.all_tasks(self._loop) if self._loop else ()
        return "\n".join(f"{task.get_name()}: {_chain(task.get_coro())}" for task in tasks)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a worker or is worked on, and no write is on its way: Events are written beside."""
        queue = self._operator.queue if self._operator else None
        writing = self._cluster is not None and self._cluster.writing > 0
        return queue is not None and len(queue) == 0 and queue.active == 0 and not writing

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self._cluster.requests if self._cluster else 0

    @property
    def created(self) -> list[str]:
        """Paths of the objects that this operator has made, by the API server's answers."""
        return self._cluster.created if self._cluster else []

    @property
    def changes(self) -> int:
        """Writes so far that the API server took."""
        return self._cluster.changes if self._cluster else 0

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except (asyncio.CancelledError, Crash):
            pass
        finally:
            self._watching.set()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        # A crashed worker is a task that nobody asks for its end.
        self._loop.set_exception_handler(lambda loop, context: None)
        configuration = Configuration()
        await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=configuration)
        async with FaultyCluster(configuration, hook=self.hook) as self._cluster:
            self._cluster.fault = self.fault
            self._operator = Operator(self._settings, self._cluster)
            waiting = asyncio.create_task(self._note_watching(self._operator))
            try:
                await self._operator.run()
            finally:
                waiting.cancel()

    async def _note_watching(self, operator: Operator) -> None:
        await operator.watching.wait()
        self._watching.set()

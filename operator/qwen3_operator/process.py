"""The running operator: watches, queue, workers, resync, lease, probes, tied together for one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import kopf

from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import ApiError, Cluster, Hook, NamespaceEnding
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import NODES, Kind
from qwen3_operator.controller.lease import Lease
from qwen3_operator.controller.probes import Probes
from qwen3_operator.controller.queue import KeyedQueue
from qwen3_operator.controller.store import Store
from qwen3_operator.handlers import kopf_settings, make_registry
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS, SELECTOR
from qwen3_operator.reconcile import Context, Key, reconcile_batch, reconcile_deployment, reconcile_model
from qwen3_operator.reconcile.failure import LASTING_FAILURES, report_failure
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.triggers import Triggers
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import CHILDREN, WATCHED
from qwen3_operator.settings import Settings

log = logging.getLogger(__name__)

_KINDS = {
    QWEN3_DEPLOYMENTS.kind: (QWEN3_DEPLOYMENTS, reconcile_deployment),
    QWEN3_MODELS.kind: (QWEN3_MODELS, reconcile_model),
    QWEN3_BATCHES.kind: (QWEN3_BATCHES, reconcile_batch),
}


class MissingApi(Exception):
    """The CRDs are not installed; the message says how."""


class LeaseLost(Exception):
    """Another operator took over, or the API server was away too long."""


class Operator:
    """One operator in one event loop. `run` returns after `stop` or a signal."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings, self.cluster = settings, cluster
        # Many wait for one model.
        self.queue: KeyedQueue[Key] = KeyedQueue(rank=lambda key: key.kind != QWEN3_MODELS.kind)
        self.watching = asyncio.Event()
        self.probes = Probes(lambda: self.watching.is_set() and not self._stop.is_set())
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._store = Store(WATCHED)
        recorder, users = Recorder(cluster, settings.identity), ModelUsers()
        self._context = Context(cluster, self._store, settings, recorder, Nodes(self._store), users)
        self._store.listeners.append(Triggers(self._enqueue, users).observe)
        self._relisted = asyncio.Event()

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped. Raises MissingApi, LeaseLost, ApiError."""
        await self.probes.start(self.settings.http_host, self.settings.http_port)
        try:
            await self._check_api()
            async with self._lease() as lost:
                await self._work(lost)
                if lost.is_set():
                    raise LeaseLost("the lease was lost: another operator may be at work")
        finally:
            await self.probes.stop()

    async def _work(self, lost: asyncio.Event) -> None:
        async with _tasks(
            *(self._worker() for _ in range(self.settings.workers)),
            self._fill(),
            self._resync(),
            self.probes.measure_lag(),
            self._stop_when(lost),
        ) as self._tasks:
            await self._watch()

    async def _wind_down(self) -> None:
        """End what runs beside kopf. It waits 5 s for every task of this loop that is younger than itself: a reconcile
        in flight, a kept-alive connection to the probes, its own wait for the stop flag after a signal."""
        self.stop()
        await _end(self._tasks)
        await self.probes.stop()

    async def _watch(self) -> None:
        await kopf.operator(
            registry=make_registry(self._store, self._relisted.set, self.cluster.configuration, at_end=self._wind_down),
            settings=kopf_settings(),
            clusterwide=not self.settings.namespaces,
            namespaces=self.settings.namespaces,
            standalone=True,
            # kopf would ask for the user's name, which a user id in a container need not have.
            identity=self.settings.identity,  # type: ignore[arg-type] # its type for that is private
            stop_flag=self._stop,
            ready_flag=self.watching,
        )

    async def _worker(self) -> None:
        await self._store.ready.wait()
        await self.queue.work(self._handle)

    async def _fill(self) -> None:
        """Wait until all that exists at the start is in the store."""
        await self.watching.wait()
        for kind in self._store.kinds:
            expected = None
            while expected is None or self._store.missing(kind, expected):
                try:
                    expected = expected or await self._names(kind)
                except ApiError as error:
                    log.warning("%s are not listed yet: %s", kind.plural, error)
                    await asyncio.sleep(error.retry_after or 1.0)
                await asyncio.sleep(0.05)
        self._store.ready.set()
        await asyncio.Event().wait()

    async def _names(self, kind: Kind) -> list[tuple[tuple[str, str], str]]:
        labels = SELECTOR if kind in CHILDREN else ""
        found = []
        for namespace in self.settings.namespaces or (None,):
            for obj in await self.cluster.list(kind, namespace if kind != NODES else None, labels=labels):
                meta = obj["metadata"]
                found.append(((meta.get("namespace", ""), meta["name"]), meta["uid"]))
        return found

    def _enqueue(self, key: Key, seconds: float) -> None:
        if seconds:
            self.queue.add_after(key, seconds)
        else:
            self.queue.add(key)

    async def _check_api(self) -> None:
        """kopf would wait for ever for a kind that is not served."""
        for kind, _ in _KINDS.values():
            if not await self.cluster.serves(kind):
                raise MissingApi(
                    f"the API server does not serve {kind.plural}.{kind.api_version}: "
                    "install the CRDs (helm does, or kubectl apply -f crds/)"
                )

    async def _handle(self, key: Key) -> None:
        kind, reconcile = _KINDS[key.kind]
        metrics.QUEUE_LENGTH.set(len(self.queue))
        started = time.monotonic()
        try:
            again = await reconcile(self._context, key)
        except asyncio.CancelledError:
            raise
        except NamespaceEnding:  # the object goes as well, and with it all that it has
            log.info("%s %s/%s: its namespace is being deleted", *key)
            again = None
        except Exception as error:
            delay, failures = self.queue.failed(key)
            metrics.RECONCILES.labels(key.kind, "error").inc()
            expected = isinstance(error, ApiError)
            log.warning(
                "%s %s/%s: %s; again in %.1f s", key.kind, key.namespace, key.name, error, delay, exc_info=not expected
            )
            if failures == LASTING_FAILURES:
                await report_failure(self._context, kind, key, error)
            return
        self.queue.succeeded(key)
        metrics.RECONCILES.labels(key.kind, "ok").inc()
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)
        if again is not None:
            self.queue.add_after(key, again)

    async def _resync(self) -> None:
        """Look at every object now and then: what a lost event or an unwatched object left behind shows there."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                for kind, _ in _KINDS.values():
                    for namespace in self.settings.namespaces or (None,):
                        for obj in await self.cluster.list(kind, namespace):
                            meta = obj["metadata"]
                            spread = random.uniform(0, self.settings.resync_seconds / 4)
                            self.queue.add_after(Key(kind.kind, meta["namespace"], meta["name"]), spread)
            except ApiError as error:
                log.warning("resync: %s", error)

    async def _stop_when(self, lost: asyncio.Event) -> None:
        await lost.wait()
        self.stop()

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[asyncio.Event]:
        """Hold the Lease; yields the event of its loss."""
        if not self.settings.lease_name:
            yield asyncio.Event()
            return
        lease = Lease(self.cluster, self.settings.lease_namespace, self.settings.lease_name, self.settings.identity)
        waiting, stopping = asyncio.create_task(lease.acquire()), asyncio.create_task(self._stop.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting.done():  # told to end while another was at work
            waiting.cancel()
            yield lease.lost
            return
        waiting.result()
        async with _tasks(lease.keep()):
            yield lease.lost
        await lease.release()


@contextlib.asynccontextmanager
async def _tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run `coroutines` beside the body and cancel them after it."""
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        yield tasks
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run(settings: Settings, hook: Hook | None = None) -> None:
    """Connect, and work until SIGTERM or SIGINT."""
    async with await Cluster.connect(hook=hook) as cluster:
        operator = Operator(settings, cluster)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, operator.stop)  # kopf takes them over once it runs
        await operator.run()

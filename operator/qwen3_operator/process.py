"""The running operator: watches, queue, workers, resync, lease, probes, tied together for one process."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus

import kopf

from qwen3_front.contract import SERVICE_LABEL
from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import ApiError, Cluster, Hook, NamespaceEnding
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.follow import Feed, Follower, Mirror
from qwen3_operator.controller.kinds import ENDPOINT_SLICES, HTTP_ROUTES, INFERENCE_POOLS, NODES, SCALED_OBJECTS, Kind
from qwen3_operator.controller.lease import Lease
from qwen3_operator.controller.probes import Probes
from qwen3_operator.controller.queue import KeyedQueue
from qwen3_operator.controller.resync import Resync, Scope
from qwen3_operator.controller.store import Kept, Store
from qwen3_operator.controller.tasks import Tasks
from qwen3_operator.handlers import kopf_settings, make_registry
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS, SELECTOR
from qwen3_operator.reconcile import (
    Context,
    Key,
    object_metrics,
    reconcile_batch,
    reconcile_deployment,
    reconcile_model,
)
from qwen3_operator.reconcile.failure import report_failure
from qwen3_operator.reconcile.front_pods import Front
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.triggers import Triggers
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import CHILDREN, MAY_BE_MISSING, WATCHED
from qwen3_operator.settings import Settings

log = logging.getLogger(__name__)

_KINDS = {
    QWEN3_DEPLOYMENTS.kind: (QWEN3_DEPLOYMENTS, reconcile_deployment),
    QWEN3_MODELS.kind: (QWEN3_MODELS, reconcile_model),
    QWEN3_BATCHES.kind: (QWEN3_BATCHES, reconcile_batch),
}
RECONCILE_SECONDS = 120.0
"""A reconcile that takes longer has failed: what it waits for must not hold a worker."""
SPARE_WORKERS = 12
"""Beyond the queue's limit: for kinds and namespaces that have no key in work, and for edits."""
LIST_TRIES, LIST_SECONDS = 3, 1.0
"""How often, and how far apart, a kind of others is asked for before it is left out."""
STUCK_SECONDS = 60.0
"""A queue of which no worker has taken a key for so long is not being worked on."""


class MissingApi(Exception):
    """The CRDs are not installed; the message says how."""


class Operator:
    """One operator in one event loop. `run` returns after `stop` or a signal."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings, self.cluster = settings, cluster
        self.queue: KeyedQueue[Key] = KeyedQueue(lambda key: (key.kind, key.namespace), limit=settings.workers)
        self.watching = asyncio.Event()
        self.probes = Probes(self._unready, self._ill)
        self._stop = asyncio.Event()
        self._waits = False
        """For the Lease."""
        self._tasks = Tasks(at_end=self.stop)
        self._workers = settings.workers + SPARE_WORKERS
        self._store = Store(_watched(settings))
        self._scopes = _scopes(settings, self._store.kinds)
        self._resync = Resync(cluster, self._store, self._scopes, MAY_BE_MISSING)
        recorder, users = Recorder(cluster, settings.identity), ModelUsers()
        front = Front(settings.front_first_port, settings.front_ports)
        front.changed = self._reconcile_deployments
        self._context = Context(cluster, self._store, settings, recorder, Nodes(self._store), users, front)
        self._store.listeners.append(Triggers(self._enqueue, users, self._store).observe)

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped. Raises MissingApi, LeaseLost, ApiError, and what ended one of the tasks."""
        await self.probes.start(self.settings.http_host, self.settings.http_port)
        try:
            await self._check_api()
            lease = self._lease()
            if lease is None:
                await self._work()
            elif await self._acquired(lease):
                try:
                    await self._work(lease)
                finally:
                    await lease.release()
        finally:
            await self.probes.stop()

    async def _work(self, lease: Lease | None = None) -> None:
        await self._leave_out_missing()
        object_metrics.show_build()
        metrics.QUEUE_LENGTH.set_function(lambda: len(self.queue))
        async with self._tasks as tasks:
            for number in range(self._workers):
                tasks.start(f"worker {number}", self._worker())
            tasks.start("resync", self._compare())
            tasks.start("measurement of the lag", self.probes.measure_lag())
            for scope, follower in self._followers():
                tasks.start(f"watch of {scope}", follower.run())
            if lease is not None:
                tasks.start("keeper of the lease", lease.keep())
            await self._watch()

    async def _wind_down(self) -> None:
        """End what runs beside kopf. It waits 5 s for every task of this loop that is younger than itself: a reconcile
        in flight, a kept-alive connection to the probes, its own wait for the stop flag after a signal."""
        self.stop()
        await self._tasks.cancel()
        await self.probes.stop()

    async def _watch(self) -> None:
        await kopf.operator(
            registry=make_registry(
                self._store, self._resync.relisted.set, self.cluster.configuration, at_end=self._wind_down
            ),
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

    async def _compare(self) -> None:
        """Have the store filled, and then right, and everything reconciled now and then."""
        await self.watching.wait()
        await self._resync.fill()
        await self._resync.run(self.settings.resync_seconds, self._reconcile_all)

    def _reconcile_all(self) -> None:
        for kind, _ in _KINDS.values():
            for (namespace, name), _uid in self._store.names(kind):
                spread = random.uniform(0, self.settings.resync_seconds / 4)
                self.queue.add_after(Key(kind.kind, namespace, name), spread)

    def _followers(self) -> Iterator[tuple[Scope, Follower]]:
        """Watch what kopf does not: kinds that may be missing, and where the pods of the front are, which is in the
        operator's own namespace, that it need not serve."""
        for scope in self._scopes:
            if scope.kind in MAY_BE_MISSING:
                yield scope, Follower(self.cluster, scope, Feed(self._store, scope, self._reconcile_deployments))
        if self.settings.front_service:
            namespace, _, service = self.settings.front_service.partition("/")
            scope = Scope(ENDPOINT_SLICES, namespace, f"{SERVICE_LABEL}={service}")
            yield scope, Follower(self.cluster, scope, Mirror(self._context.front.observe))

    def _reconcile_deployments(self) -> None:
        for (namespace, name), _uid in self._store.names(QWEN3_DEPLOYMENTS):
            self.queue.add(Key(QWEN3_DEPLOYMENTS.kind, namespace, name))

    def _enqueue(self, key: Key, seconds: float, *, edited: bool = False) -> None:
        if seconds:
            self.queue.add_after(key, seconds)
        else:
            self.queue.add(key, edited=edited)

    async def _check_api(self) -> None:
        """kopf would wait for ever for a kind that is not served."""
        for kind, _ in _KINDS.values():
            if not await self.cluster.serves(kind):
                raise MissingApi(
                    f"the API server does not serve {kind}: install the CRDs (helm does, or kubectl apply -f crds/)"
                )

    async def _leave_out_missing(self) -> None:
        """Wait for no kind of others that is not served, or cannot be listed: its conversion webhook may be gone. It is
        watched once it can be; until then nothing asks for it."""
        for scope in self._scopes:
            if scope.kind in MAY_BE_MISSING and (why := await self._cannot_be_listed(scope)):
                log.warning("%s", why)
                self._store.leave_out(scope.kind)

    async def _cannot_be_listed(self, scope: Scope) -> str:
        """Why not; empty where it can."""
        why = ""
        for attempt in range(LIST_TRIES):
            await asyncio.sleep(LIST_SECONDS if attempt else 0)
            try:
                await self.cluster.names(scope.kind, scope.namespace, labels=scope.labels)
                return ""
            except Exception as error:  # whatever it is that a broken one answers
                if isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND:
                    return f"the API server does not serve {scope.kind}"
                why = f"{scope.kind} is left out until it can be listed: {error}"
        return why

    async def _handle(self, key: Key) -> None:
        """Reconcile `key`, and have the queue do it again as the result says."""
        kind, reconcile = _KINDS[key.kind]
        started = time.monotonic()
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                again = await reconcile(self._context, key)
        except NamespaceEnding:  # the object goes as well, and with it all that it has
            log.info("%s %s/%s: its namespace is being deleted", *key)
            again = None
        except Exception as error:
            await self._failed(key, kind, error)
            return
        self.queue.succeeded(key, again)
        metrics.RECONCILES.labels(key.kind, "ok").inc()
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)

    async def _failed(self, key: Key, kind: Kind, error: Exception) -> None:
        if isinstance(error, TimeoutError) and not str(error):
            error = TimeoutError(f"it took longer than {RECONCILE_SECONDS:g} s")
        wait = error.retry_after if isinstance(error, ApiError) else None
        delay, _ = self.queue.failed(key, wait or 0.0)
        # Somebody else wrote the object at the same moment: nothing is wrong, it is only reconciled again.
        conflict = isinstance(error, ApiError) and error.reason == "Conflict"
        metrics.RECONCILES.labels(key.kind, "conflict" if conflict else "error").inc()
        traceback = None if isinstance(error, ApiError | TimeoutError) else error
        level = logging.INFO if conflict else logging.WARNING
        log.log(level, "%s %s/%s: %s; again in %.1f s", *key, error, delay, exc_info=traceback)
        if self.queue.lasts(key):
            await report_failure(self._context, kind, key, error)

    def _lease(self) -> Lease | None:
        if not self.settings.lease_name:
            return None
        return Lease(self.cluster, self.settings.lease_namespace, self.settings.lease_name, self.settings.identity)

    async def _acquired(self, lease: Lease) -> bool:
        """Wait for the Lease; False when stopped before."""
        waiting, stopping = asyncio.create_task(lease.acquire()), asyncio.create_task(self._stop.wait())
        self._waits = True
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        self._waits = False
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
            return False
        waiting.result()
        return True

    def _unready(self) -> str:
        """What keeps this process from its work."""
        if self._stop.is_set():
            return "ending"
        if self._waits and self.settings.standby:
            return ""
        if not self.watching.is_set():
            return "starting"
        if not self._store.ready.is_set():
            return "reading what there is"
        if self.queue.stuck > STUCK_SECONDS:
            return f"{len(self.queue)} objects wait, and no worker has taken one for {self.queue.stuck:.0f} s"
        return self._ill()

    def _ill(self) -> str:
        """What a restart would mend."""
        if self._tasks.failure is not None:
            return f"a task ended: {self._tasks.failure}"
        if self.queue.longest > 2 * RECONCILE_SECONDS:
            return f"a reconcile has not ended for {self.queue.longest:.0f} s"
        return ""


def _watched(settings: Settings) -> dict[Kind, Kept]:
    allowed = {
        NODES: settings.read_cluster,
        ENDPOINT_SLICES: bool(settings.front_service),
        HTTP_ROUTES: settings.gateway,
        INFERENCE_POOLS: settings.gateway and settings.endpoint_picker,
        SCALED_OBJECTS: bool(settings.prometheus_address),
    }
    return {kind: kept for kind, kept in WATCHED.items() if allowed.get(kind, True)}


def _scopes(settings: Settings, kinds: Iterable[Kind]) -> list[Scope]:
    """All that is watched, of these kinds."""
    return [
        Scope(kind, namespace, SELECTOR if kind in CHILDREN else "")
        for kind in kinds
        for namespace in (settings.namespaces if kind != NODES else ()) or (None,)
    ]


async def run(settings: Settings, hook: Hook | None = None) -> None:
    """Connect, and work until SIGTERM or SIGINT."""
    async with await Cluster.connect(hook=hook) as cluster:
        operator = Operator(settings, cluster)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, operator.stop)  # kopf takes them over once it runs
        await operator.run()

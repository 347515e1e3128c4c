"""The operator without a cluster: what becomes of a reconcile, and of a task that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import prometheus_client
import pytest
from tests.unit.clock import jumping
from tests.unit.fakes import FakeCluster

import qwen3_operator.process as process_module
from qwen3_operator.controller import follow
from qwen3_operator.controller.cluster import ApiError, Name, NamespaceEnding
from qwen3_operator.controller.kinds import HTTP_ROUTES, INFERENCE_POOLS, LEASES, NODES, Kind
from qwen3_operator.controller.lease import LeaseLost
from qwen3_operator.controller.metrics import CONDITION
from qwen3_operator.controller.queue import LASTING_FAILURES, Requeue
from qwen3_operator.controller.tasks import TaskEnded
from qwen3_operator.naming import QWEN3_MODELS
from qwen3_operator.process import RECONCILE_SECONDS, STUCK_SECONDS, Operator
from qwen3_operator.reconcile import Context, Key
from qwen3_operator.reconcile.reconciliation import observed
from qwen3_operator.settings import Settings

KEY = Key("Qwen3Model", "team", "m")
OTHER = Key("Qwen3Model", "team", "other")
Reconcile = Callable[[Context, Key], Any]


class ApiServer(FakeCluster):
    """Has one Qwen3Model, takes status writes, and serves all kinds."""

    def __init__(self) -> None:
        super().__init__()
        meta = {"namespace": KEY.namespace, "name": KEY.name, "uid": "u", "generation": 3, "resourceVersion": "1"}
        ready = {"type": "Ready", "status": "True", "reason": "Verified", "message": "", "lastTransitionTime": "t"}
        status = {"model": {"commit": "c"}, "conditions": [ready]}
        self.objects[KEY] = {"metadata": meta, "spec": {}, "status": status}
        self.unreadable: Exception | None = None
        self.namespaces: set[str | None] = set()
        self.events: list[str] = []

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Any:
        assert kind == LEASES, "objects are read from the store"
        return await super().get(kind, namespace, name)

    async def apply(self, kind: Kind, obj: Any, *, manager: str, subresource: str | None = None) -> Any:
        assert subresource == "status"
        if self.unreadable:
            raise self.unreadable
        self.writes.append("status")
        live = self.objects[KEY]
        live["status"] = obj["status"]
        live["metadata"]["resourceVersion"] = str(int(live["metadata"]["resourceVersion"]) + 1)
        return live

    async def names(self, kind: Kind, namespace: str | None, *, labels: str) -> list[Name]:
        if not await self.serves(kind):
            raise ApiError(404, "NotFound", "404 page not found")
        self.namespaces.add(namespace)
        return []

    async def create(self, kind: Kind, obj: Any, *, manager: str) -> Any:
        if kind.kind == "Event":
            self.events.append(obj["reason"])
            return obj
        return await super().create(kind, obj, manager=manager)

    async def serves(self, kind: Kind) -> bool:
        return True

    async def listed(self, kind: Kind, namespace: str | None, *, labels: str) -> AsyncIterator[tuple[list[Any], str]]:
        if not await self.serves(kind):
            raise ApiError(404, "NotFound", "404 page not found")
        yield [], "1"

    async def watch(self, kind: Kind, namespace: str | None, **_: Any) -> AsyncIterator[tuple[str, Any]]:
        while True:
            await asyncio.sleep(0.01)
            if not await self.serves(kind):
                raise ApiError(404, "NotFound", "404 page not found")
            yield "BOOKMARK", {"metadata": {"resourceVersion": "1"}}

    @property
    def conditions(self) -> dict[str, Any]:
        return {c["type"]: c for c in self.objects[KEY]["status"]["conditions"]}


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def reconcile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reconcile], None]:
    """Have Qwen3Models reconciled by a function of the test."""

    def use(function: Reconcile) -> None:
        monkeypatch.setitem(process_module._KINDS, "Qwen3Model", (QWEN3_MODELS, function))

    return use


def operator(server: ApiServer, **settings: Any) -> Operator:
    settings = {"lease_name": "", "http_host": "127.0.0.1", "http_port": 0, "workers": 2, "identity": "me"} | settings
    it = Operator(Settings.model_validate(settings), server)  # type: ignore[arg-type]
    it._store.put(QWEN3_MODELS, server.objects[KEY], own=True)

    async def watch() -> None:
        it.watching.set()
        await it._stop.wait()
        await it._wind_down()

    it._watch = watch  # type: ignore[method-assign]
    return it


def is_ready(it: Operator) -> bool:
    return it._unready() == ""


async def until(check: Callable[[], Any]) -> None:
    """Let the loop turn until `check` is true."""
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def ready_series() -> float | None:
    labels = {"kind": KEY.kind, "namespace": KEY.namespace, "name": KEY.name, "type": "Ready"}
    return prometheus_client.REGISTRY.get_sample_value("qwen3_operator_condition", labels)


@jumping
async def test_a_failure_that_lasts_is_in_status_metric_and_events(
    server: ApiServer, reconcile: Callable[[Reconcile], None]
) -> None:
    tries: list[float] = []

    async def refused(_: Context, key: Key) -> None:
        tries.append(asyncio.get_running_loop().time())
        raise ApiError(500, "InternalError", "range is full")

    reconcile(refused)
    it = operator(server)
    CONDITION.show(KEY, {(*KEY, "Ready"): 1})
    for number in range(LASTING_FAILURES):
        assert server.conditions["Ready"]["status"] == "True", f"after {number} failures"
        await it._handle(KEY)
    ready = server.conditions["Ready"]
    assert (ready["status"], ready["reason"], ready["observedGeneration"]) == ("False", "ReconcileFailed", 3)
    assert "range is full" in ready["message"]
    assert (server.conditions["Reconciling"]["status"], server.conditions["Reconciling"]["reason"]) == (
        *("True", "ReconcileFailed"),
    )
    assert server.objects[KEY]["status"]["model"] == {"commit": "c"}, "the rest of the status stays"
    assert ready_series() == 0
    assert server.events == ["ReconcileFailed"]
    await it._handle(KEY)
    assert server.writes == ["status"], "the same failure once more is no write"


@jumping
async def test_a_worker_tries_again_by_the_queue_and_reports_within_seconds(
    server: ApiServer, reconcile: Callable[[Reconcile], None]
) -> None:
    loop = asyncio.get_running_loop()

    async def refused(_: Context, key: Key) -> None:
        raise ApiError(500, "InternalError", "range is full")

    reconcile(refused)
    it = operator(server)
    worker = asyncio.create_task(it.queue.work(it._handle))
    it.queue.add(KEY)
    await until(lambda: "Reconciling" in server.conditions)
    assert loop.time() < 10
    worker.cancel()


@jumping
@pytest.mark.parametrize("error", [ValueError("recursion limit exceeded"), RecursionError(), KeyError("metadata")])
async def test_an_object_that_cannot_be_read_takes_no_worker_with_it(
    server: ApiServer, reconcile: Callable[[Reconcile], None], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 2b: the report of the failure meets what made it fail."""
    done = asyncio.Event()

    async def read(context: Context, key: Key) -> None:
        if key == OTHER:
            done.set()
        else:
            raise error

    reconcile(read)
    server.unreadable = error
    it = operator(server)
    worker = asyncio.create_task(it.queue.work(it._handle))
    it.queue.add(KEY)
    await until(lambda: "could not be reported" in caplog.text)
    it.queue.add(OTHER)
    await asyncio.wait_for(done.wait(), 1)
    assert it.queue.workers == 1
    worker.cancel()


@jumping
async def test_a_reconcile_that_hangs_has_failed(server: ApiServer, reconcile: Callable[[Reconcile], None]) -> None:
    async def hangs(_: Context, key: Key) -> None:
        await asyncio.Event().wait()

    reconcile(hangs)
    it = operator(server)
    for _ in range(LASTING_FAILURES):
        await asyncio.wait_for(it._handle(KEY), RECONCILE_SECONDS + 1)
    assert f"took longer than {RECONCILE_SECONDS:g} s" in server.conditions["Ready"]["message"]


@jumping
async def test_the_result_says_when_to_reconcile_again(
    server: ApiServer, reconcile: Callable[[Reconcile], None]
) -> None:
    results: list[Any] = [5.0, Requeue(7.0), Requeue(10.0, trouble=True), None, NamespaceEnding(403, "Forbidden", "x")]

    async def ends(_: Context, key: Key) -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    reconcile(ends)
    loop = asyncio.get_running_loop()
    for least, most in ((5, 5), (7, 7), (7.5, 10)):
        it, begun = operator(server), loop.time()
        await it._handle(OTHER)
        await until(lambda it=it: OTHER in it.queue._waiting)  # type: ignore[misc]
        assert least - 0.01 <= loop.time() - begun <= most + 0.02
    for _ in range(2):
        it = operator(server)
        await it._handle(OTHER)
        await asyncio.sleep(1000)
        assert OTHER not in it.queue._waiting


async def test_a_server_that_asks_to_wait_is_obeyed(server: ApiServer, reconcile: Callable[[Reconcile], None]) -> None:
    async def busy(_: Context, key: Key) -> None:
        error = ApiError(429, "TooManyRequests", "later")
        error.retry_after = 5.0
        raise error

    reconcile(busy)
    it = operator(server)
    begun = asyncio.get_running_loop().time()
    await it._handle(OTHER)
    assert it.queue._timers[OTHER].when() - begun >= 5


@jumping
async def test_the_resync_reconciles_what_is_there_and_forgets_what_is_not(
    server: ApiServer, reconcile: Callable[[Reconcile], None]
) -> None:
    async def nothing_to_do(context: Context, key: Key) -> None:
        observed(context, QWEN3_MODELS, key)

    reconcile(nothing_to_do)
    it = operator(server, resync_seconds=600, namespaces="team,second")
    it.probes.start = it.probes.stop = nothing  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(it.run())
    CONDITION.show(KEY, {(*KEY, "Ready"): 1})
    it._context.users.note(KEY, {"other"})
    await until(lambda: it._unready() == "")
    await asyncio.sleep(601)
    assert it._store.get(QWEN3_MODELS, KEY.namespace, KEY.name) is None, "it is not listed, and no event said so"
    assert ready_series() is None and it._context.users.of("team", "other") == []
    assert server.namespaces == {"team", "second", None}, "nodes have none"
    it._store.put(QWEN3_MODELS, server.objects[KEY] | {"metadata": server.objects[KEY]["metadata"] | {"uid": "v"}})
    await until(lambda: not len(it.queue))
    it._reconcile_all()
    assert it.queue._timers.keys() == {KEY}
    it.stop()
    await running


async def test_a_task_that_ends_ends_the_process(
    server: ApiServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = operator(server)
    fail = asyncio.Event()

    async def fails(*_: Any) -> None:
        await fail.wait()
        raise ValueError("a fault")

    monkeypatch.setattr(it._resync, "run", fails)
    running = asyncio.create_task(it.run())
    await until(lambda: it.queue.workers)
    assert it._unready() == it._ill() == ""
    fail.set()
    with pytest.raises(ValueError, match="a fault"):
        await asyncio.wait_for(running, 5)
    assert it.queue.workers == 0
    assert "a fault" in it._ill()
    assert "the task resync failed" in caplog.text


@pytest.mark.parametrize("name", ["worker 0", "worker 2", "resync", "measurement of the lag", "keeper of the lease"])
async def test_every_task_is_watched(server: ApiServer, name: str) -> None:
    it = operator(server, lease_name="guard")
    running = asyncio.create_task(it.run())
    await until(lambda: it.queue.workers)
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
    task.cancel()
    with pytest.raises(TaskEnded, match=name):
        await asyncio.wait_for(running, 5)


@jumping
async def test_a_lost_lease_stops_the_workers_at_once(
    server: ApiServer, reconcile: Callable[[Reconcile], None]
) -> None:
    async def hangs(_: Context, key: Key) -> None:
        await asyncio.Event().wait()

    reconcile(hangs)
    it = operator(server, lease_name="guard")
    it.probes.start = it.probes.stop = nothing  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(it.run())
    await until(lambda: it.queue.workers)
    it.queue.add(KEY)
    await until(lambda: it.queue.active)
    lease = await server.get(LEASES, "default", "guard")
    lease["spec"]["holderIdentity"] = "another"
    await server.replace(LEASES, lease, manager="another")
    with pytest.raises(LeaseLost, match="held by another"):
        await asyncio.wait_for(running, 10)
    assert it.queue.active == it.queue.workers == 0
    assert server.objects["Lease", "default", "guard"]["spec"]["holderIdentity"] == "another"


async def test_one_that_waits_for_the_lease_is_ready_where_several_are_meant(server: ApiServer) -> None:
    first = operator(server, lease_name="guard")
    waiting = [operator(server, lease_name="guard", identity=str(on), standby=on) for on in (False, True)]
    tasks = [asyncio.create_task(first.run())]
    await until(lambda: first.queue.workers)
    tasks += [asyncio.create_task(it.run()) for it in waiting]
    await until(lambda: all(it._waits for it in waiting))
    assert [it._unready() for it in waiting] == ["starting", ""]
    for it in (*waiting, first):
        it.stop()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert waiting[1]._unready() == "ending"


async def test_without_the_right_nodes_are_not_watched(server: ApiServer) -> None:
    assert NODES in operator(server)._store.kinds
    it = operator(server, read_cluster=False, namespaces="a,b")
    assert NODES not in it._store.kinds
    assert {scope.namespace for scope in it._resync._scopes} == {"a", "b"}, "nothing of the cluster as a whole"


async def test_a_kind_of_others_comes_and_goes(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The Gateway API comes from elsewhere, and not to every cluster; kopf's watch would wait for ever, or end all."""
    assert HTTP_ROUTES not in operator(server)._store.kinds, "nobody has enabled it"

    async def serves(kind: Kind) -> bool:
        return kind != HTTP_ROUTES or served

    monkeypatch.setattr(server, "serves", serves)
    monkeypatch.setattr(follow, "MOST_BACKOFF", 0.01)
    served = False
    it = operator(server, gateway=True)
    running = asyncio.create_task(it.run())
    await until(partial(is_ready, it))
    assert HTTP_ROUTES not in it._store.kinds and "does not serve httproutes" in caplog.text
    served = True
    await until(lambda: HTTP_ROUTES in it._store.kinds)
    served = False
    await until(lambda: HTTP_ROUTES not in it._store.kinds)
    assert is_ready(it) and "does not serve httproutes.gateway.networking.k8s.io/v1 any more" in caplog.text
    it.stop()
    await running


async def test_a_kind_of_others_that_cannot_be_listed_keeps_nobody_from_starting(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ApiError(500, "InternalError", "conversion webhook failed: no endpoints available")
    names, listed = server.names, server.listed

    async def names_or_not(kind: Kind, namespace: str | None, *, labels: str) -> list[Name]:
        if kind == HTTP_ROUTES and broken:
            raise gone
        return await names(kind, namespace, labels=labels)

    async def listed_or_not(kind: Kind, namespace: str | None, *, labels: str) -> AsyncIterator[tuple[list[Any], str]]:
        if kind == HTTP_ROUTES and broken:
            raise gone
        async for page in listed(kind, namespace, labels=labels):
            yield page

    monkeypatch.setattr(server, "names", names_or_not)
    monkeypatch.setattr(server, "listed", listed_or_not)
    monkeypatch.setattr(follow, "MOST_BACKOFF", 0.01)
    monkeypatch.setattr(process_module, "LIST_SECONDS", 0.0)
    broken = True
    it = operator(server, gateway=True)
    running = asyncio.create_task(it.run())
    await until(partial(is_ready, it))
    assert HTTP_ROUTES not in it._store.kinds and "left out until it can be listed: InternalError" in caplog.text
    broken = False
    await until(lambda: HTTP_ROUTES in it._store.kinds)
    it.stop()
    await running


async def test_pools_are_watched_where_routes_may_lead_to_them(server: ApiServer) -> None:
    assert INFERENCE_POOLS not in operator(server, gateway=True)._store.kinds
    assert INFERENCE_POOLS not in operator(server, endpoint_picker=True)._store.kinds, "no route leads to any"
    assert INFERENCE_POOLS in operator(server, gateway=True, endpoint_picker=True)._store.kinds


async def test_a_stop_ends_it_without_an_error_and_gives_the_lease_back(server: ApiServer) -> None:
    it = operator(server, lease_name="guard")
    running = asyncio.create_task(it.run())
    await until(lambda: it.queue.workers)
    assert server.objects["Lease", "default", "guard"]["spec"]["holderIdentity"] == "me"
    it.stop()
    await asyncio.wait_for(running, 5)
    assert it._unready() == "ending"
    assert server.objects["Lease", "default", "guard"]["spec"]["holderIdentity"] == ""


@jumping
async def test_the_probes_know_the_workers(server: ApiServer, reconcile: Callable[[Reconcile], None]) -> None:
    async def resists(_: Context, key: Key) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if it._stop.is_set():
                    raise

    reconcile(resists)
    it = operator(server)
    assert it._unready() == "starting"
    it.watching.set()
    assert it._unready() == "reading what there is"
    it._store.ready.set()
    it.queue.add(KEY)
    await asyncio.sleep(STUCK_SECONDS + 1)
    assert it._unready() == "1 objects wait, and no worker has taken one for 61 s"
    worker = asyncio.create_task(it.queue.work(it._handle))
    await asyncio.sleep(1)
    assert it._unready() == it._ill() == ""
    await asyncio.sleep(2 * RECONCILE_SECONDS)
    assert it._ill() == it._unready() == "a reconcile has not ended for 241 s"
    it.stop()
    worker.cancel()


async def nothing(*_: Any) -> None:
    """In the place of a server."""

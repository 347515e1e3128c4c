"""An operator over an API server in memory that has one of everything which /metrics shows, by its own reconciles."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration
from tests.cluster.wrappers import Q3b, Q3d, Q3m
from tests.unit.fakes import FakeCluster
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.kinds import CLAIMS, DEPLOYMENTS, JOBS, NODES, PODS, REPLICA_SETS, Kind
from qwen3_operator.controller.lease import Lease
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS, server_labels
from qwen3_operator.process import Operator
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.context import utc_now
from qwen3_operator.settings import Settings

Object = dict[str, Any]
NAMESPACE, SERVED = "team", "chat"
SIZE = 1_500_000_000
LOG = "Loading weights took 3.2 seconds\nGPU KV cache size: 400,000 tokens\nGraph capturing finished in 7 secs\n"


class _Failing(MemoryCluster):
    """Refuses the status of what is called `broken`."""

    async def apply(self, kind: Kind, obj: Object, **more: Any) -> Object:
        if obj["metadata"]["name"] == "broken":
            raise ApiError(500, "InternalError", "etcd is full")
        return await super().apply(kind, obj, **more)


class World:
    """The objects, and what the cluster's other hands do with them."""

    def __init__(self, **settings: Any) -> None:
        self.cluster = _Failing()
        self.start(**settings)
        labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
        node = {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
        self.cluster.put(NODES, node)

    def start(self, **settings: Any) -> None:
        """Have an operator with these settings, in the place of the one before."""
        base = {"identity": "test", "lease_name": "", "http_host": "127.0.0.1", "http_port": 0}
        chosen = Settings.model_validate(base | settings)
        self.operator = Operator(chosen, cast(Cluster, self.cluster))

    def apply(self, kind: Kind, builder: Q3d | Q3m | Q3b) -> None:
        """Have an object in the namespace."""
        builder.manifest["metadata"]["namespace"] = NAMESPACE
        self.cluster.put(kind, builder.manifest)

    async def reconcile(self, kind: Kind, name: str, times: int = 1) -> None:
        """Reconcile it when the watches have shown everything."""
        for _ in range(times):
            self.cluster.show(self.operator._store)
            await self.operator._handle(Key(kind.kind, NAMESPACE, name))

    def download_runs(self, model: str, done: int) -> None:
        """The download Job of a model has a pod, which has fetched so much."""
        job = self.changed(JOBS, self._job(model))
        job["status"] = {"startTime": timestamp(utc_now()), "active": 1}
        owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        labels = job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
        self._pod(f"{model}-pod", labels, owner, {"name": "download"}, {"phase": "Running"})
        reported = {"event": "progress", "bytesDone": done, "bytesTotal": SIZE, "filesDone": 1, "filesTotal": 9}
        self.cluster.pod_logs[f"{model}-pod"] = json.dumps(reported)

    def download_ends(self, model: str, **found: Any) -> None:
        """And it has verified everything. `found`: more of its report."""
        report = {"result": "Complete", "commit": "c0ffee", "bytes": SIZE, "files": 9, "weightsBytes": SIZE} | found
        ended = {"exitCode": 0, "message": json.dumps(report), "finishedAt": timestamp(utc_now())}
        pod = self.changed(PODS, f"{model}-pod")
        pod["status"] = {
            "phase": "Succeeded",
            "containerStatuses": [{"name": "download", "state": {"terminated": ended}}],
        }
        job = self.changed(JOBS, self._job(model))
        over = {"type": "Complete", "status": "True", "lastTransitionTime": timestamp(utc_now())}
        job["status"] |= {"conditions": [over], "completionTime": timestamp(utc_now())}

    def server_is_ready(self) -> None:
        """The servers of SERVED are up."""
        made = self.changed(DEPLOYMENTS, SERVED)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 1)
        made["status"] = counts | {"observedGeneration": made["metadata"]["generation"]}
        at = timestamp(utc_now())
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": at} for kind in ("PodScheduled", "Ready")]
        status = {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{"name": "vllm", "ready": True, "state": {"running": {"startedAt": at}}}],
        }
        limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
        owner = {"kind": "ReplicaSet", "name": f"{SERVED}-1", "uid": "r"}
        self.cluster.put(REPLICA_SETS, replica_set(owner, made))
        self._pod(f"{SERVED}-1-a", server_labels(SERVED), owner, {"name": "vllm"} | limits, status)
        self.cluster.pod_logs[f"{SERVED}-1-a"] = LOG

    def bind(self, model: str) -> None:
        """The volume of a model is there."""
        claim = self.changed(CLAIMS, model)
        claim["status"] = {"phase": "Bound", "capacity": {"storage": "4Gi"}}

    def model_of(self, deployment: str) -> str:
        """Name of the Qwen3Model that was made for a deployment."""
        status = self.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, deployment]["status"]
        return str(status["model"]["name"])

    def status(self, kind: Kind, name: str) -> Object:
        """Conditions by type, for a person who reads why a test failed."""
        found = self.cluster.objects[kind.kind, NAMESPACE, name]["status"]
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found["conditions"]}

    def changed(self, kind: Kind, name: str) -> Object:
        """An object that another hand is about to change."""
        return self.cluster.put(kind, self.cluster.objects[kind.kind, NAMESPACE, name])

    def _job(self, model: str) -> str:
        (name,) = [job["metadata"]["name"] for job in self.cluster.of(JOBS) if model in job["metadata"]["name"]]
        return str(name)

    def _pod(self, name: str, labels: Object, owner: Object, container: Object, status: Object) -> None:
        owners = [owner | {"controller": True}]
        meta = {"namespace": NAMESPACE, "name": name, "labels": labels, "ownerReferences": owners}
        self.cluster.put(
            PODS, {"metadata": meta, "spec": {"nodeName": "node", "containers": [container]}, "status": status}
        )


def replica_set(named: Object, server: Object) -> Object:
    """The ReplicaSet that a pod of the Deployment `server` names."""
    owner = {"kind": "Deployment", "name": server["metadata"]["name"], "uid": server["metadata"]["uid"]}
    meta = {"namespace": server["metadata"]["namespace"], "name": named["name"], "uid": named["uid"]}
    return {"metadata": meta | {"ownerReferences": [owner | {"controller": True}]}}


async def downloaded(world: World, model: str, **found: Any) -> None:
    """Have a model fetched and verified. `found`: what its download reports besides."""
    await world.reconcile(QWEN3_MODELS, model, 2)
    world.bind(model)
    world.download_runs(model, SIZE // 2)
    await world.reconcile(QWEN3_MODELS, model)
    world.download_ends(model, **found)
    await world.reconcile(QWEN3_MODELS, model)


async def everything() -> World:
    """One deployment that serves, one that waits for a person, a model that is being fetched, a batch, an error."""
    world = World()
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED))
    world.apply(QWEN3_DEPLOYMENTS, Q3d("wrong").engine(tensorParallelSize=3))
    world.apply(QWEN3_MODELS, Q3m("large").set(id="Qwen/Qwen3-8B"))
    world.apply(QWEN3_MODELS, Q3m("broken").set(id="Qwen/Qwen3-4B"))
    world.apply(QWEN3_BATCHES, Q3b("nightly"))
    for name in (SERVED, "wrong"):
        await world.reconcile(QWEN3_DEPLOYMENTS, name, 2)
    await downloaded(world, world.model_of(SERVED))
    for name in (SERVED, "wrong"):
        await world.reconcile(QWEN3_DEPLOYMENTS, name)
    world.server_is_ready()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    await world.reconcile(QWEN3_MODELS, "large", 2)
    world.bind("large")
    world.download_runs("large", SIZE // 3)
    await world.reconcile(QWEN3_MODELS, "large")
    await world.reconcile(QWEN3_BATCHES, "nightly")
    await world.reconcile(QWEN3_MODELS, "broken")
    return world


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Serve the operator's /metrics, as it is at work on everything; gives the port."""
    world = await everything()
    await Lease(cast(Cluster, FakeCluster()), "infra", "guard", "me").acquire()
    await _ask_an_api_server()
    await world.operator.probes.start("127.0.0.1", 0)
    try:
        yield world.operator.probes.port
    finally:
        await world.operator.probes.stop()


async def _ask_an_api_server() -> None:
    """By the operator's own connection: the one in memory counts no requests."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "node"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Cluster(configuration) as cluster:
        await cluster.get(NODES, None, "node")
    await runner.cleanup()

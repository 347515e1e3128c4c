"""A fresh control plane with simulated nodes, and the operator as a process of its own beside it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import devcluster
from tests.cluster import installed
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.operator_process import OperatorProcess
from tests.crds import crds
from tests.perf.scale.audit import AuditLog, Request
from tests.perf.scale.usage import Meter
from tests.perf.scale.watching import EDITED, Timeline

from qwen3_operator.naming import QWEN3_DEPLOYMENTS

NAMESPACE = "default"
CREATORS = 16
QUIET_SECONDS, QUIET_LIMIT = 11.0, 60.0
"""No request for so long is rest: what starts is reconciled again after 10 s. An operator that never rests is not
waited for."""
SETTLED_CORES, SETTLE_SECONDS, SETTLE_LIMIT = 0.3, 2.0, 60.0
"""A control plane that uses less than so much of a core for so long has come to rest."""
ONE_NODE_PORT = "30000-30000"
REFUSAL = "range is full"
"""The API server's word (500) for a Service that gets no port."""


@dataclass
class Stand:
    """One cluster with one operator. `posted`: when the POST of each Qwen3Deployment was sent."""

    cluster: devcluster.Cluster
    operator: OperatorProcess
    timeline: Timeline
    audit: AuditLog
    meter: Meter
    load_before: float
    settled_s: float
    """How long the control plane took to come to rest."""
    posted: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = Api(self.cluster.kubeconfig)

    def create(self, numbers: Collection[int], models: int, refused: Collection[int] = ()) -> None:
        """POST Qwen3Deployments, 16 at a time, that name `models` models by turns; `refused`: whose Service the API
        server refuses."""

        def post(number: int) -> None:
            spec: dict[str, Any] = {
                "model": {"id": "Qwen/Qwen3-8B", "revision": f"v{number % models}"},
                "engine": {"maxModelLen": 8192},
            }
            if number in refused:
                spec["service"] = {"type": "NodePort"}
            meta = {"namespace": NAMESPACE, "name": name_of(number)}
            self.posted[meta["name"]] = time.time()
            head = {"apiVersion": QWEN3_DEPLOYMENTS.api_version, "kind": QWEN3_DEPLOYMENTS.kind}
            self.api.create(head | {"metadata": meta, "spec": spec})

        with ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(post, numbers))

    def edit(self, number: int, value: str) -> None:
        """Change one Qwen3Deployment, so that its servers are to have the environment variable EDITED."""
        change = {"spec": {"engine": {"env": [{"name": EDITED, "value": value}]}}}
        self.api.patch(QWEN3_DEPLOYMENTS.kind, NAMESPACE, name_of(number), change)

    def wait_quiet(self, seconds: float = QUIET_SECONDS) -> list[Request]:
        """Wait until the operator sends no request for `seconds`; all its requests so far."""
        started = changed = time.monotonic()
        count = len(self.audit.requests())
        while time.monotonic() - changed < seconds and time.monotonic() - started < QUIET_LIMIT:
            time.sleep(0.5)
            if len(self.audit.requests()) != count:
                count, changed = len(self.audit.requests()), time.monotonic()
        return list(self.audit.requests())


def name_of(number: int) -> str:
    """Name of a Qwen3Deployment."""
    return f"bench-{number:05}"


@contextlib.contextmanager
def stand(folder: Path, *, crs: int, few_node_ports: bool = False) -> Iterator[Stand]:
    """A stand with room for `crs` servers, the operator at work; `few_node_ports`: there is none for a Service."""
    # Simulated nodes renew a Lease each; beyond some hundred that is no small part of all writes. Each has CPU for 25
    # servers.
    gpus = 8 if crs <= 2000 else 24
    with devcluster.cluster(
        nodes=crs // gpus + 4,
        gpus_per_node=gpus,
        audit=True,
        audit_users=(f"system:serviceaccount:{installed.NAMESPACE}:{installed.NAME}",),
        node_ports=ONE_NODE_PORT if few_node_ports else "",
        fake_download_report=COMPLETE,
    ) as c:
        c.apply(crds())
        c.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        if few_node_ports:
            ports = [{"name": "only", "port": 1}]
            meta = {"namespace": NAMESPACE, "name": "takes-the-node-port"}
            spec = {"type": "NodePort", "ports": ports}
            c.apply([{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}])
        operator = installed.install(c, folder).operator(folder / "operator.log", identity="bench")
        timeline = Timeline(c.kubeconfig, NAMESPACE, REFUSAL)
        try:
            operator.start()
            timeline.start()
            control_plane = {name: pid for name, pid, _ in c.status()}
            meter = Meter(control_plane | {"operator": operator.pid, "bench": os.getpid()})
            settled = _settle(meter, control_plane)
            yield Stand(c, operator, timeline, AuditLog(c.audit_log), meter, os.getloadavg()[0], settled)
        finally:
            timeline.close()
            if operator.running:
                operator.stop()


def _settle(meter: Meter, control_plane: Iterable[str]) -> float:
    """Wait until the control plane has come to rest, and return how long that took: after its start and after every CRD
    the API server computes its OpenAPI for seconds, which is the cost of no Qwen3Deployment."""
    started = time.monotonic()
    while time.monotonic() - started < SETTLE_LIMIT:
        meter.reset()
        time.sleep(SETTLE_SECONDS)
        used = meter.used()
        if sum(used[name] for name in control_plane) < SETTLED_CORES * SETTLE_SECONDS:
            break
    return time.monotonic() - started

"""The front behind a Service: when it stands there, at which port, and what its notice says."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.memory_cluster import MemoryCluster

from qwen3_front.contract import CLUSTERS, FIRST_PORT, PORTS, SERVICE_LABEL, SLICE_MANAGER, Mode, read_notice
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import DEPLOYMENTS, ENDPOINT_SLICES
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.front import slice_name, waiting_trigger
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, owner_reference, server_labels
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.front import ensure_front
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

SCALED = {"minReplicas": 0, "maxReplicas": 2, "target": {"concurrency": 8}}
STARTUP = {"scheduledSeconds": 1, "pulledSeconds": 4, "readySeconds": 35, "weightsSeconds": 20}


class Stand:
    """An operator with a front at 10.0.0.9, and what it does to the deployments of a namespace."""

    def __init__(self, **settings: Any) -> None:
        self.cluster, self.store = MemoryCluster(), Store(WATCHED)
        wanted = Settings.model_validate({"front_service": "qwen3-system/front", "identity": "test"} | settings)
        self.context = Context(cast(Cluster, self.cluster), self.store, wanted, cast(Recorder, None), Nodes(self.store))
        self.fronts("10.0.0.9")

    def fronts(self, *addresses: str, family: str = "IPv4") -> None:
        endpoints = [{"addresses": [it], "conditions": {"ready": True}} for it in addresses]
        ports = [{"name": "http", "port": 8080}]
        self.context.front.observe({"it": {"addressType": family, "endpoints": endpoints, "ports": ports}})

    def servers(self, name: str, *addresses: str, ready: bool = True) -> None:
        """What the cluster's own controller makes of the Service."""
        labels = server_labels(name) | {SERVICE_LABEL: name, SLICE_MANAGER: CLUSTERS}
        endpoints = [{"addresses": [it], "conditions": {"ready": ready, "serving": True}} for it in addresses]
        ports = [{"name": "http", "port": 8000}]
        meta = {"namespace": "team", "name": f"{name}-x7k2p", "labels": labels}
        self.cluster.put(ENDPOINT_SLICES, {"metadata": meta, "endpoints": endpoints, "ports": ports})
        self.cluster.show(self.store)

    async def reconcile(self, name: str = "chat", *, status: Any = None, **spec: Any) -> list[Any]:
        wanted = Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}} | spec)
        meta = {"namespace": "team", "name": name, "uid": f"uid-of-{name}"}
        owner = {"metadata": meta, "status": status or {}}
        return await ensure_front(self.context, owner, wanted, STARTUP)

    def slice(self, name: str = "chat") -> Any:
        return self.cluster.objects["EndpointSlice", "team", slice_name(name)]

    def conditions(self) -> Any:
        (endpoint,) = self.slice()["endpoints"]
        assert endpoint["addresses"] == ["10.0.0.9"]
        return endpoint["conditions"]


IN = {"ready": True, "serving": True, "terminating": False}
STANDING_BY = {"ready": False, "serving": True, "terminating": True}


async def test_it_stands_in_while_no_server_is_ready() -> None:
    it = Stand()
    assert await it.reconcile() == []
    assert it.conditions() == IN
    meta = it.slice()["metadata"]
    assert meta["labels"] | {SERVICE_LABEL: "chat", SLICE_MANAGER: "qwen3-operator"} == meta["labels"]
    assert meta["ownerReferences"] == [
        owner_reference("Qwen3Deployment", QWEN3_DEPLOYMENTS.api_version, "chat", "uid-of-chat", controller=True)
    ]
    it.servers("chat", "10.0.0.1")
    await it.reconcile()
    assert it.conditions() == STANDING_BY
    it.servers("chat", "10.0.0.1", ready=False)  # it is ending
    await it.reconcile()
    assert it.conditions() == IN


async def test_nothing_changes_nothing() -> None:
    it = Stand()
    await it.reconcile()
    writes = len(it.cluster.writes)
    await it.reconcile()
    assert len(it.cluster.writes) == writes == 1


async def test_servers_of_others_are_none_of_its() -> None:
    it = Stand()
    it.servers("other", "10.0.0.1")
    await it.reconcile()
    assert it.conditions() == IN


async def test_without_a_front_nothing_is_made() -> None:
    it = Stand(front_service="")
    assert await it.reconcile() == [] and not it.cluster.writes


async def test_a_front_that_went_leads_nowhere_and_the_port_stays() -> None:
    it = Stand()
    await it.reconcile()
    port = it.slice()["ports"]
    it.fronts()
    await it.reconcile()
    assert it.slice()["endpoints"] == [] and it.slice()["ports"] == port
    it.fronts("10.0.0.7", "10.0.0.8")
    await it.reconcile()
    assert [e["addresses"] for e in it.slice()["endpoints"]] == [["10.0.0.7"], ["10.0.0.8"]]


async def test_before_the_front_was_seen_nothing_is_changed() -> None:
    it = Stand()
    await it.reconcile()
    before = it.slice()
    it.context.front.pods = None  # the operator was restarted
    await it.reconcile()
    assert it.slice() == before
    it.fronts()
    await it.reconcile()
    assert it.slice()["endpoints"] == []


async def test_others_hear_that_the_front_is_elsewhere() -> None:
    it, heard = Stand(), list[int]()
    it.context.front.changed = lambda: heard.append(1)
    it.fronts("10.0.0.9")
    assert not heard
    it.fronts("10.0.0.8")
    assert heard == [1]


async def test_each_has_a_port_of_its_own_until_there_is_none() -> None:
    it = Stand()
    it.context.front.ports.count = 3
    found = [await it.reconcile(name) for name in ("a", "b", "c", "d")]
    ports = [it.slice(name)["ports"][0]["port"] for name in ("a", "b", "c")]
    assert sorted(ports) == [FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2]
    assert [[problem.reason for problem in it] for it in found] == [[], [], [], ["FrontFull"]]
    assert all(problem.severity == "warning" for problem in found[3])


async def test_of_two_with_one_port_the_younger_gets_another() -> None:
    it = Stand()
    await it.reconcile("a")
    await it.reconcile("b")
    port = it.slice("a")["ports"]
    other = it.slice("b")
    it.cluster.put(ENDPOINT_SLICES, other | {"ports": port})
    it.cluster.show(it.store)
    await it.reconcile("a")
    assert it.slice("a")["ports"] == port
    await it.reconcile("b")
    assert it.slice("b")["ports"] != port


@pytest.mark.parametrize(
    ("spec", "replicas", "mode"),
    [
        ({}, 1, Mode.HOLD),
        ({}, None, Mode.HOLD),
        ({"suspend": True}, 0, Mode.REFUSE),
        ({"replicas": 0}, 0, Mode.REFUSE),
        ({"autoscaling": SCALED}, 0, Mode.ASLEEP),
        ({"autoscaling": SCALED}, 1, Mode.HOLD),
        ({"autoscaling": SCALED | {"minReplicas": 1}}, 0, Mode.HOLD),
        ({"autoscaling": SCALED}, None, Mode.HOLD),
        ({"autoscaling": SCALED, "suspend": True}, 0, Mode.REFUSE),
    ],
)
async def test_what_becomes_of_requests(spec: Any, replicas: int | None, mode: Mode) -> None:
    it = Stand()
    if replicas is not None:
        by = owner_reference("Qwen3Deployment", QWEN3_DEPLOYMENTS.api_version, "chat", "uid-of-chat", controller=True)
        meta = {"namespace": "team", "name": "chat", "labels": server_labels("chat"), "ownerReferences": [by]}
        it.cluster.put(DEPLOYMENTS, {"metadata": meta, "spec": {"replicas": replicas}})
        it.cluster.show(it.store)
    await it.reconcile(**spec)
    assert read_notice(it.slice()["metadata"]["annotations"]).mode is mode


async def test_the_stage_and_how_long_it_takes() -> None:
    since = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "False", "reason": "ModelDownloading", "lastTransitionTime": since}
    it = Stand()
    await it.reconcile(status={"conditions": [ready]})
    said = read_notice(it.slice()["metadata"]["annotations"])
    assert (said.why, said.started, said.usual_seconds) == ("ModelDownloading", 1767225600.0, 40)


async def test_while_it_serves_the_slice_says_nothing_that_changes() -> None:
    it = Stand()
    it.servers("chat", "10.0.0.1")
    await it.reconcile()
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await it.reconcile(status={"conditions": [ready]})
    assert len(it.cluster.writes) == 1


def test_the_settings_are_those_of_the_front() -> None:
    settings = Settings(identity="test")
    assert (settings.front_first_port, settings.front_ports) == (FIRST_PORT, PORTS)


def test_the_trigger_asks_every_front() -> None:
    trigger = waiting_trigger("qwen3-system/it-front", "team", "chat", 8)
    assert trigger["type"] == "metrics-api" and trigger["metadata"] == {
        "url": "http://it-front.qwen3-system.svc:8080/waiting/team/chat",
        "format": "json",
        "valueLocation": "waiting",
        "targetValue": "8",
        "activationTargetValue": "0",
        "aggregateFromKubeServiceEndpoints": "true",
        "aggregationType": "sum",
    }

"""The front behind Services: what the operator makes of it on a real API server, and what the front reads there."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.installed import Release, as_account
from tests.cluster.operator_process import OperatorProcess, get
from tests.cluster.waiting import stays, wait_until
from tests.cluster.world import World, WritesSince
from tests.cluster.wrappers import Q3d
from tests.unit.front.processes import COUNT, FrontProcess, free_ports

from qwen3_front.contract import SERVICE_LABEL, Mode, read_notice

Object = dict[str, Any]
NAME, NAMESPACE = "fronted-qwen3-operator", "fronted-system"
POD = "10.250.7.7"
"""Address of the front's pod: there is none, and nothing here goes through it."""
IN = {"ready": True, "serving": True, "terminating": False}
STANDING_BY = {"ready": False, "serving": True, "terminating": True}


@pytest.fixture(scope="session")
def fronted(installs: Callable[..., Release]) -> Release:
    """The chart with the front."""
    return installs("front.enabled=true", name=NAME, namespace=NAMESPACE)


@pytest.fixture(scope="module")
def first_port() -> int:
    """Ports for the front as a process here."""
    return free_ports(COUNT)


@pytest.fixture(scope="module")
def fronted_operator(
    fronted: Release, the_operator: OperatorProcess, first_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator that knows the front, in the place of the session's."""
    if the_operator.running:
        the_operator.stop()
    log = tmp_path_factory.mktemp("fronted") / "operator.log"
    it = fronted.operator(log, front_first_port=str(first_port), front_ports=str(COUNT))
    it.start()
    yield it
    it.stop()
    the_operator.start()


@pytest.fixture
def with_front(fronted_operator: OperatorProcess, api: Api, make_world: Callable[[str], World]) -> Iterator[World]:
    """A namespace, and the front's pod at its place."""
    fronted_operator.keep_running()
    front_at(api, POD)
    it = make_world("fronted")
    yield it
    api.delete("Namespace", None, it.namespace)


@pytest.fixture
def front(
    with_front: World, fronted: Release, cluster: devcluster.Cluster, first_port: int, tmp_path: Path
) -> Iterator[FrontProcess]:
    """The front, with the rights of its own ServiceAccount."""
    kubeconfig = as_account(cluster, fronted.namespace, f"{NAME}-front", tmp_path / "front.kubeconfig")
    it = FrontProcess(kubeconfig, tmp_path / "front.log", first_port=first_port)
    try:
        log = tmp_path / "front.log"
        wait_until(
            lambda: get(it.admin_port, "/readyz")[0] == 200, within=30, what="it is ready", showing=log.read_text
        )
        yield it
    finally:
        it.kill()


def front_at(api: Api, *addresses: str) -> None:
    """What the cluster makes of the front's own Service, whose pods run nowhere here."""
    api.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{NAME}-front-abcde",
                "namespace": NAMESPACE,
                "labels": {SERVICE_LABEL: f"{NAME}-front"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [it], "conditions": {"ready": True}} for it in addresses],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
        manager="cluster",
    )


def ask(port: int, results: list[int], timeout: float = 60) -> None:
    """One request to a port of the front; its status is put into the list, where it comes in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with suppress(http.client.HTTPException, OSError):
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m"}))
        results.append(connection.getresponse().status)


def stance(world: World) -> Object:
    """Conditions of the front in the slice of `chat`; empty while it is not there."""
    found = world.get("EndpointSlice", "chat-front") or {}
    (endpoint,) = found.get("endpoints") or [{}]
    conditions: Object = endpoint.get("conditions", {})
    return conditions


def test_it_stands_in_until_a_server_is_ready(with_front: World) -> None:
    world = with_front
    world.apply(Q3d())
    world.wait(lambda: stance(world) == IN, "the front is there before the servers")
    world.wait_ready("chat")
    world.wait(lambda: stance(world) == STANDING_BY, "a server is ready")
    found = world.must("EndpointSlice", "chat-front")
    assert found["endpoints"][0]["addresses"] == [POD] and found["addressType"] == "IPv4"
    port = found["ports"]
    world.patch("EndpointSlice", "chat-front", {"endpoints": []})
    world.wait(lambda: stance(world) == STANDING_BY, "an edit is undone")
    world.set_spec("chat", suspend=True)
    world.wait(lambda: stance(world) == IN, "no server is left")
    said = read_notice(world.must("EndpointSlice", "chat-front")["metadata"]["annotations"])
    assert (said.mode, said.why) == (Mode.REFUSE, "spec.suspend is true")
    world.set_spec("chat", suspend=False)
    world.wait(lambda: stance(world) == STANDING_BY, "a server is ready again", within=60)
    assert world.must("EndpointSlice", "chat-front")["ports"] == port


def test_it_stands_in_through_a_roll_out_without_room(with_front: World) -> None:
    world = with_front
    world.apply(Q3d().set(rollout={"strategy": "Recreate"}))
    world.wait_ready("chat")
    world.wait(lambda: stance(world) == STANDING_BY, "a server is ready")
    seen = world.must("EndpointSlice", "chat-front")
    world.set_spec("chat", engine={"maxModelLen": 2048})
    world.wait_ready("chat", within=60)
    world.wait(lambda: stance(world) == STANDING_BY, "the new server is ready")
    stances = [it["endpoints"][0]["conditions"] for it in world.history("EndpointSlice", "chat-front", seen)]
    assert IN in stances, "it was behind the Service in the gap"


def test_a_front_elsewhere_is_followed(with_front: World) -> None:
    world = with_front
    world.apply(Q3d("chat").set(suspend=True))
    world.wait(lambda: stance(world) == IN, "the front is there")
    front_at(world.api, "10.250.7.8", "10.250.7.9")

    def addresses() -> list[str]:
        endpoints = world.must("EndpointSlice", "chat-front").get("endpoints") or []
        return [it["addresses"][0] for it in endpoints]

    world.wait(lambda: addresses() == ["10.250.7.8", "10.250.7.9"], "it has moved")
    front_at(world.api)
    world.wait(lambda: addresses() == [], "it has gone")


def test_it_goes_with_its_owner(with_front: World) -> None:
    world = with_front
    world.apply(Q3d().set(suspend=True))
    world.wait(lambda: stance(world) == IN, "the front is there")
    world.delete("Qwen3Deployment", "chat")
    world.wait_gone("EndpointSlice", "chat-front")


def test_at_rest_nothing_is_written(with_front: World, writes_since: WritesSince) -> None:
    world = with_front
    world.apply(Q3d())
    world.wait_ready("chat")
    world.wait(lambda: stance(world) == STANDING_BY, "a server is ready")
    time.sleep(3)  # what follows from becoming Ready
    moment = time.time()
    stays(lambda: writes_since(world, moment) == [], seconds=3)


def test_the_front_holds_what_the_slices_say(with_front: World, front: FrontProcess) -> None:
    """Its servers are simulated, and never answer: what is asked waits, until the deployment is suspended."""
    world, results = with_front, list[int]()
    world.apply(Q3d().pod(ready="false"))
    world.wait(lambda: stance(world) == IN, "the front is there")
    port = world.must("EndpointSlice", "chat-front")["ports"][0]["port"]
    waits = threading.Thread(target=ask, args=(port, results), daemon=True)
    waits.start()
    path = f"/waiting/{world.namespace}/chat"
    world.wait(lambda: json.loads(get(front.admin_port, path)[1]) == {"waiting": 1}, "it waits")
    world.set_spec("chat", suspend=True)
    world.wait(
        lambda: read_notice(world.must("EndpointSlice", "chat-front")["metadata"]["annotations"]).mode is Mode.REFUSE
    )

    def refused() -> bool:
        before: list[int] = []
        ask(port, before, timeout=1)  # one that comes before the news is held
        return before == [503]

    world.wait(refused, "it refuses")
    assert results == [], "who waits already is answered at the deadline"

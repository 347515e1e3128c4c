"""Routes from a Gateway: made where they are asked for and allowed, mended, reported, and taken back.

The API server has the CRD of HTTPRoutes of the Gateway API's standard channel. The test plays the Gateway's
controller: what a real one does is in tests/gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.gateway_controller import GOOD, PARENT, says
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d
from tests.crds import install, uninstall
from tests.gateway import modules

Object = dict[str, Any]
GATEWAY = {"parentRef": PARENT, "hostnames": ["llm.example"], "pathPrefix": "/chat"}


@pytest.fixture(scope="session")
def gateway_release(installs: Callable[..., Release]) -> Release:
    """The chart with `gateway.enabled`."""
    return installs("gateway.enabled=true", name="gateway-qwen3-operator", namespace="gateway-system")


@pytest.fixture
def routing(gateway_release: Release, tmp_path: Path, the_operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """An operator that may make routes, in the place of the session's."""
    if the_operator.running:
        the_operator.stop()
    it = gateway_release.operator(tmp_path / "routing.log")
    yield it
    if it.running:
        it.stop()
    the_operator.start()


@pytest.fixture(scope="module")
def routes(cluster: devcluster.Cluster) -> Iterator[list[Object]]:
    """The CRD of HTTPRoutes; gone afterwards."""
    found = modules.http_routes()
    yield found
    uninstall(cluster, found)


@pytest.fixture
def served(cluster: devcluster.Cluster, routes: list[Object]) -> None:
    install(cluster, routes)


@pytest.fixture
def ours(make_world: Callable[[str], World]) -> World:
    return make_world("gateway")


def cr(**fields: Any) -> Q3d:
    return Q3d().set(service={"gateway": GATEWAY | fields})


def test_its_life(served: None, routing: OperatorProcess, ours: World, api: Api) -> None:
    routing.start()
    ours.apply(cr())
    ours.wait_ready("chat")
    pending = ours.wait_condition("chat", "Routed", "Unknown", reason="RoutePending")
    assert "Gateway edge/public" in pending["message"]
    route = ours.must("HTTPRoute", "chat")
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/chat/v1"}}]
    assert rule["backendRefs"] == [{"group": "", "kind": "Service", "name": "chat", "port": 8000, "weight": 1}]
    says(ours, "HTTPRoute", *GOOD)
    ours.wait_condition("chat", "Routed", "True", within=5)
    assert ours.must("Qwen3Deployment", "chat")["status"]["gatewayEndpoint"] == "llm.example/chat/v1"

    ours.patch("HTTPRoute", "chat", {"spec": {"hostnames": ["theirs.example"], "parentRefs": [{"name": "theirs"}]}})
    ours.wait(lambda: ours.must("HTTPRoute", "chat")["spec"]["hostnames"] == ["llm.example"], "an edit is undone")
    assert ours.must("HTTPRoute", "chat")["spec"]["parentRefs"][0]["name"] == "public"
    added = [*ours.must("HTTPRoute", "chat")["spec"]["parentRefs"], {"name": "theirs"}]
    ours.patch("HTTPRoute", "chat", {"spec": {"parentRefs": added}})
    ours.wait(lambda: len(ours.must("HTTPRoute", "chat")["spec"]["parentRefs"]) == 1, "so is an addition")

    says(ours, "HTTPRoute", ("Accepted", "False", "NotAllowedByListeners", "no listener takes it"))
    reported = ours.wait_condition("chat", "Routed", "False", reason="RouteNotAccepted")
    assert reported["message"] == "Gateway edge/public: NotAllowedByListeners: no listener takes it"
    assert ours.is_ready("chat"), "the servers serve all the same"

    ours.delete("HTTPRoute", "chat")
    ours.wait(lambda: ours.get("HTTPRoute", "chat") is not None, "it is made again")
    ours.apply(Q3d())
    ours.wait(lambda: ours.get("HTTPRoute", "chat") is None, "it goes with the field")
    ours.wait(lambda: "Routed" not in ours.conditions("Qwen3Deployment", "chat") and ours.is_ready("chat"))

    ours.apply(cr(header={"name": "x-model", "value": "chat"}))
    ours.wait(lambda: len(ours.must("HTTPRoute", "chat")["spec"]["rules"]) == 2, "either way leads to it")
    ours.delete("Qwen3Deployment", "chat")
    ours.wait_gone("HTTPRoute", "chat")


def test_without_the_gateway_api_it_says_so_and_goes_on(
    routes: list[Object], cluster: devcluster.Cluster, routing: OperatorProcess, ours: World
) -> None:
    """It is seen when it comes, and watched from then on."""
    uninstall(cluster, routes)
    routing.start()
    ours.apply(cr())
    ours.wait_ready("chat")
    reported = ours.wait_condition("chat", "Routed", "False", reason="GatewayApiMissing")
    assert "install the CRDs of the Gateway API" in reported["message"]
    assert "does not serve httproutes" in routing.log.read_text()
    install(cluster, routes)
    ours.wait(lambda: ours.get("HTTPRoute", "chat") is not None, "the CRDs are seen", within=30)
    ours.wait_condition("chat", "Routed", "Unknown", reason="RoutePending")
    ours.patch("HTTPRoute", "chat", {"spec": {"hostnames": ["theirs.example"]}})
    ours.wait(lambda: ours.must("HTTPRoute", "chat")["spec"]["hostnames"] == ["llm.example"], "an edit is undone")
    ours.apply(Q3d())
    ours.wait(lambda: ours.get("HTTPRoute", "chat") is None, "it goes with the field")


def test_without_the_value_no_route_is_made(served: None, world: World) -> None:
    """Nor asked for: what the chart does not grant is refused, and fails the session."""
    world.apply(cr())
    world.wait_ready("chat")
    reported = world.wait_condition("chat", "Routed", "False", reason="GatewayNotEnabled")
    assert "gateway.enabled=true" in reported["message"]
    stays(lambda: world.get("HTTPRoute", "chat") is None, seconds=1)


def test_a_route_of_somebody_else_is_left_alone(served: None, routing: OperatorProcess, ours: World, api: Api) -> None:
    routing.start()
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "chat", "namespace": ours.namespace},
        "spec": {"hostnames": ["theirs.example"]},
    }
    before = api.apply(theirs, manager="somebody")
    ours.apply(cr())
    ours.wait_ready("chat")
    reported = ours.wait_condition("chat", "Routed", "False", reason="NameTaken")
    assert "HTTPRoute chat is there already and not ours" in reported["message"]
    assert ours.must("HTTPRoute", "chat")["spec"] == before["spec"]

"""The HTTPRoute of a Qwen3Deployment: made, mended, removed, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.cluster.wrappers import Q3d
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import HTTP_ROUTES, Kind
from qwen3_operator.controller.store import Kept, Store
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.route import Route, ensure_route, remove_route
from qwen3_operator.settings import Settings

OWNER: dict[str, Any] = {"metadata": {"namespace": "team", "name": "chat", "uid": "u"}}
GATEWAY = {"parentRef": {"name": "public", "namespace": "edge"}, "hostnames": ["llm.example"], "pathPrefix": "/chat"}
ROUTED = {"status": {"conditions": [{"type": "Routed", "status": "True"}]}}


class Gateways(MemoryCluster):
    """An API server that may lack the Gateway API."""

    def __init__(self, *, served: bool = True) -> None:
        super().__init__()
        self.served = served

    async def serves(self, kind: Kind) -> bool:
        return self.served

    async def apply(self, kind: Kind, obj: dict[str, Any], **options: Any) -> dict[str, Any]:
        if not self.served:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return await super().apply(kind, obj, **options)

    @property
    def route(self) -> dict[str, Any]:
        return self.objects["HTTPRoute", "team", "chat"]


class Bench:
    """A cluster and an operator that watches HTTPRoutes, or does not."""

    def __init__(self, *, served: bool = True, watched: bool = True, enabled: bool = True) -> None:
        self.cluster = Gateways(served=served)
        self.store = Store({HTTP_ROUTES: Kept()} if watched else {})
        settings = Settings(identity="test", gateway=enabled)
        nodes = Nodes(self.store)
        self.context = Context(cast(Cluster, self.cluster), self.store, settings, cast(Recorder, None), nodes)

    def ensure(self, **fields: Any) -> Route:
        spec = Qwen3DeploymentSpec.model_validate(Q3d().set(service={"gateway": GATEWAY | fields}).spec)
        return asyncio.run(ensure_route(self.context, OWNER, spec))

    def remove(self, owner: dict[str, Any] = OWNER) -> list[Any]:
        return asyncio.run(remove_route(self.context, owner))

    def by_hand(self, change: Callable[[dict[str, Any]], Any]) -> None:
        edited = copy.deepcopy(self.cluster.route)
        change(edited["spec"])
        self.store.put(HTTP_ROUTES, self.cluster.put(HTTP_ROUTES, edited))


def test_it_leads_to_the_service_and_costs_no_second_write() -> None:
    it = Bench()
    assert it.ensure().live == it.cluster.route
    (rule,) = it.cluster.route["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "chat", "port": 8000}]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/chat/v1"}}]
    assert rule["timeouts"] == {"request": "0s"}
    assert [o["uid"] for o in it.cluster.route["metadata"]["ownerReferences"]] == ["u"]
    it.ensure()
    assert len(it.cluster.writes) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["parentRefs"].append({"name": "another"}),
        lambda spec: spec.update(hostnames=[]),
        lambda spec: spec["hostnames"].append("theirs.example"),
        lambda spec: spec["rules"][0]["backendRefs"].append({"name": "theirs", "port": 80}),
        lambda spec: spec["rules"][0]["filters"].append({"type": "RequestMirror"}),
        lambda spec: spec["rules"][0]["timeouts"].update(request="10s"),
        lambda spec: spec["rules"].append({"backendRefs": []}),
        lambda spec: spec["rules"][0]["matches"].append({"path": {"type": "PathPrefix", "value": "/"}}),
    ],
)
def test_what_a_hand_changes_is_undone(change: Callable[[dict[str, Any]], Any]) -> None:
    it = Bench()
    it.ensure()
    wanted = copy.deepcopy(it.cluster.route["spec"])
    it.by_hand(change)
    assert it.cluster.route["spec"] != wanted
    it.ensure()
    assert it.cluster.route["spec"] == wanted


def test_a_hand_filter_where_we_have_none_is_undone() -> None:
    it = Bench()
    it.ensure(pathPrefix=None)
    it.by_hand(lambda spec: spec["rules"][0].update(filters=[{"type": "RequestMirror"}]))
    it.ensure(pathPrefix=None)
    assert it.cluster.route["spec"]["rules"][0]["filters"] == []


def test_what_the_api_server_adds_is_no_drift() -> None:
    it = Bench()
    it.ensure(header={"name": "x-model", "value": "chat"})

    def defaults(spec: dict[str, Any]) -> None:
        spec["parentRefs"][0] |= {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
        for rule in spec["rules"]:
            rule["backendRefs"][0] |= {"group": "", "kind": "Service", "weight": 1}

    it.by_hand(defaults)
    before = len(it.cluster.writes)
    it.ensure(header={"name": "x-model", "value": "chat"})
    assert len(it.cluster.writes) == before


def test_it_goes_when_nobody_asks_for_it() -> None:
    it = Bench()
    it.ensure()
    assert it.remove(OWNER | ROUTED) == []
    assert not it.cluster.of(HTTP_ROUTES)
    it.remove(OWNER)
    assert it.cluster.writes[-1][0] == "delete"


def test_one_of_somebody_else_is_left_alone() -> None:
    it = Bench()
    it.cluster.put(HTTP_ROUTES, {"metadata": {"namespace": "team", "name": "chat"}, "spec": {}})
    problem = it.ensure().problem
    assert problem is not None and problem.reason == Reason.NAME_TAKEN and problem.field == "spec.service.gateway"
    it.store.put(HTTP_ROUTES, it.cluster.route)
    assert it.remove() == [] and it.cluster.of(HTTP_ROUTES)


def test_nothing_is_asked_where_it_is_not_enabled() -> None:
    it = Bench(enabled=False, watched=False)
    problem = it.ensure().problem
    assert problem is not None and problem.reason == Reason.GATEWAY_NOT_ENABLED
    assert "gateway.enabled=true" in problem.message
    assert it.remove(OWNER | ROUTED) == []
    assert not it.cluster.writes and not it.cluster.reads


def test_the_gateway_api_may_come_later() -> None:
    it = Bench(served=False)
    it.store.leave_out(HTTP_ROUTES)
    route = it.ensure()
    assert route.problem is not None and route.problem.reason == Reason.GATEWAY_API_MISSING
    assert "install the CRDs" in route.problem.message
    assert not it.cluster.writes and not it.cluster.reads
    it.cluster.served = True
    it.store.take_in(HTTP_ROUTES)
    route = it.ensure()
    assert route.live is not None and route.problem is None
    assert it.remove() == [] and not it.cluster.of(HTTP_ROUTES)


def test_the_gateway_api_may_go_at_any_moment() -> None:
    problem = Bench(served=False).ensure().problem
    assert problem is not None and problem.reason == Reason.GATEWAY_API_MISSING


def test_what_the_api_server_refuses_is_reported() -> None:
    it = Bench()

    async def refuses(*_: Any, **__: Any) -> Any:
        raise ApiError(403, "Forbidden", "httproutes is forbidden")

    it.cluster.apply = refuses  # type: ignore[method-assign]
    problem = it.ensure().problem
    assert problem is not None and problem.reason == Reason.HTTPROUTE_REFUSED and "is forbidden" in problem.message


def test_what_may_pass_is_tried_again() -> None:
    it = Bench()

    async def busy(*_: Any, **__: Any) -> Any:
        raise ApiError(503, "ServiceUnavailable", "busy")

    it.cluster.apply = busy  # type: ignore[method-assign]
    problem = it.ensure().problem
    assert problem is not None and problem.retried and "busy" in problem.message

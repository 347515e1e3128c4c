"""The InferencePool of a Qwen3Deployment: made before the route leads to it, gone after that; the route leads to the
Service where it cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Any, cast

import pytest
from tests.cluster.wrappers import Q3d
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import HTTP_ROUTES, INFERENCE_POOLS, Kind
from qwen3_operator.controller.store import Kept, Store
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.route import Route, ensure_route, remove_route
from qwen3_operator.settings import Settings

OWNER: dict[str, Any] = {"metadata": {"namespace": "team", "name": "chat", "uid": "u"}}
PICKER = {"name": "picker"}
TO_POOL = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "chat"}
TO_SERVICE = {"name": "chat", "port": 8000}


class Pools(MemoryCluster):
    """An API server that may lack the Inference Extension, and may refuse what is its own."""

    def __init__(self, *, served: bool) -> None:
        super().__init__()
        self.served = served
        self.refusal: ApiError | None = None

    async def serves(self, kind: Kind) -> bool:
        return self.served or kind != INFERENCE_POOLS

    async def apply(self, kind: Kind, obj: dict[str, Any], **options: Any) -> dict[str, Any]:
        if kind == INFERENCE_POOLS and not self.served:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        if kind == INFERENCE_POOLS and self.refusal:
            raise self.refusal
        return await super().apply(kind, obj, **options)


class Bench:
    """A cluster, and an operator that may make routes and pools."""

    def __init__(
        self,
        *,
        served: bool = True,
        enabled: bool = True,
        watched: Set[Kind] = frozenset((HTTP_ROUTES, INFERENCE_POOLS)),
    ) -> None:
        self.cluster = Pools(served=served)
        self.cluster.put(QWEN3_DEPLOYMENTS, OWNER)  # what has no owner is collected
        self.store = Store({kind: Kept() for kind in watched})
        settings = Settings(identity="test", gateway=True, endpoint_picker=enabled)
        nodes = Nodes(self.store)
        self.context = Context(cast(Cluster, self.cluster), self.store, settings, cast(Recorder, None), nodes)

    def ensure(self, picker: dict[str, Any] | None = PICKER) -> Route:
        fields = {"parentRef": {"name": "public"}} | ({"endpointPicker": picker} if picker else {})
        spec = Qwen3DeploymentSpec.model_validate(Q3d().set(service={"gateway": fields}).spec)
        return asyncio.run(ensure_route(self.context, OWNER, spec))

    def remove(self) -> list[Any]:
        return asyncio.run(remove_route(self.context, OWNER))

    @property
    def pool(self) -> dict[str, Any] | None:
        return self.cluster.objects.get(("InferencePool", "team", "chat"))

    @property
    def leads_to(self) -> dict[str, Any]:
        (rule,) = self.cluster.objects["HTTPRoute", "team", "chat"]["spec"]["rules"]
        (found,) = rule["backendRefs"]
        return dict(found)

    @property
    def written(self) -> list[tuple[str, str]]:
        return [(write[0], write[1]) for write in self.cluster.writes]


def test_the_route_leads_to_the_pool_once_that_is_there() -> None:
    it = Bench()
    route = it.ensure()
    assert it.leads_to == TO_POOL and route.pool == it.pool and not route.warnings
    assert it.pool is not None and it.pool["spec"] == {
        "selector": {
            "matchLabels": {"serving.qwen3.dev/deployment": "chat", "app.kubernetes.io/component": "server"},
        },
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"kind": "Service", "name": "picker", "port": {"number": 9002}, "failureMode": "FailOpen"},
    }
    assert [o["uid"] for o in it.pool["metadata"]["ownerReferences"]] == ["u"]
    assert it.written == [("apply", "InferencePool"), ("apply", "HTTPRoute")]
    it.ensure()
    assert len(it.written) == 2, "a second reconcile writes nothing"


def test_it_follows_the_spec() -> None:
    it = Bench()
    it.ensure()
    it.ensure({"name": "another", "port": 9102, "failureMode": "FailClose"})
    assert it.pool is not None and it.pool["spec"]["endpointPickerRef"] == {
        "kind": "Service",
        "name": "another",
        "port": {"number": 9102},
        "failureMode": "FailClose",
    }


def test_with_a_proxy_of_the_picker_the_route_leads_there() -> None:
    """A Gateway that knows no InferencePools is led to the proxy; the picker reads the pool all the same."""
    it = Bench()
    assert it.ensure(PICKER | {"proxy": {"name": "picker-proxy"}}).pool == it.pool is not None
    assert it.leads_to == {"name": "picker-proxy", "port": 8081}
    it.ensure(PICKER | {"proxy": {"name": "picker-proxy", "port": 80}})
    assert it.leads_to == {"name": "picker-proxy", "port": 80}
    it.ensure()
    assert it.leads_to == TO_POOL
    it.ensure(None)
    assert it.leads_to == TO_SERVICE


@pytest.mark.parametrize(
    "change",
    [
        {"selector": {"matchLabels": {"app.kubernetes.io/component": "server"}}},
        {"targetPorts": [{"number": 8000}, {"number": 22}]},
        {
            "endpointPickerRef": {
                "kind": "Service",
                "name": "theirs",
                "port": {"number": 9002},
                "failureMode": "FailOpen",
            }
        },
    ],
)
def test_what_a_hand_changes_is_undone(change: dict[str, Any]) -> None:
    it = Bench()
    it.ensure()
    assert it.pool is not None
    wanted = dict(it.pool["spec"])
    edited = it.pool | {"spec": wanted | change}
    it.store.put(INFERENCE_POOLS, it.cluster.put(INFERENCE_POOLS, edited))
    it.ensure()
    assert it.pool["spec"] == wanted


def test_taken_out_the_route_leaves_the_pool_first() -> None:
    it = Bench()
    it.ensure()
    assert it.ensure(None).pool is None
    assert it.leads_to == TO_SERVICE and it.pool is None
    assert it.written[2:] == [("apply", "HTTPRoute"), ("delete", "InferencePool")]


def test_both_go_when_nobody_asks_for_a_route() -> None:
    it = Bench()
    it.ensure()
    assert it.remove() == []
    assert not it.cluster.of(HTTP_ROUTES) and not it.cluster.of(INFERENCE_POOLS)


def test_where_it_is_not_enabled_nothing_is_asked_and_the_service_serves() -> None:
    it = Bench(enabled=False, watched={HTTP_ROUTES})
    (warning,) = it.ensure().warnings
    assert warning.reason == Reason.ENDPOINT_PICKER_NOT_ENABLED and warning.severity == "warning"
    assert warning.message.startswith("spec.service.gateway.endpointPicker: the operator makes no InferencePools")
    assert "gateway.endpointPicker=true" in warning.message
    assert it.leads_to == TO_SERVICE
    it.remove()
    assert not [call for call in (*it.cluster.reads, *it.cluster.writes) if "InferencePool" in call]


def test_the_extension_may_come_later() -> None:
    """The route leads to the Service meanwhile, and nothing is asked."""
    it = Bench(served=False)
    it.store.leave_out(INFERENCE_POOLS)
    route = it.ensure()
    (warning,) = route.warnings
    assert warning.reason == Reason.INFERENCE_EXTENSION_MISSING
    assert it.leads_to == TO_SERVICE and route.problem is None
    assert not [call for call in (*it.cluster.reads, *it.cluster.writes) if "InferencePool" in call]
    it.cluster.served = True
    it.store.take_in(INFERENCE_POOLS)
    assert it.ensure().warnings == [] and it.leads_to == TO_POOL
    assert it.remove() == [] and not it.cluster.of(INFERENCE_POOLS)


def test_the_extension_may_go_at_any_moment() -> None:
    it = Bench(served=False)
    (warning,) = it.ensure().warnings
    assert warning.reason == Reason.INFERENCE_EXTENSION_MISSING and it.leads_to == TO_SERVICE


def test_one_of_somebody_else_is_left_alone() -> None:
    it = Bench()
    theirs = it.cluster.put(INFERENCE_POOLS, {"metadata": {"namespace": "team", "name": "chat"}, "spec": {}})
    route = it.ensure()
    (warning,) = route.warnings
    assert warning.reason == Reason.NAME_TAKEN and warning.field == "spec.service.gateway.endpointPicker"
    assert it.leads_to == TO_SERVICE, "not to a pool that anybody made"
    it.store.put(INFERENCE_POOLS, theirs)
    assert it.remove() == [] and it.pool == theirs


def test_what_the_api_server_refuses_is_reported() -> None:
    it = Bench()
    it.cluster.refusal = ApiError(403, "Forbidden", "inferencepools is forbidden")
    (warning,) = it.ensure().warnings
    assert warning.reason == Reason.INFERENCE_POOL_REFUSED and "is forbidden" in warning.message
    assert it.leads_to == TO_SERVICE


def test_what_may_pass_is_tried_again() -> None:
    it = Bench()
    it.cluster.refusal = ApiError(503, "ServiceUnavailable", "busy")
    (warning,) = it.ensure().warnings
    assert warning.retried and "busy" in warning.message


def test_a_pool_that_cannot_be_changed_at_this_moment_stays_in_use() -> None:
    it = Bench()
    it.ensure()
    it.cluster.refusal = ApiError(503, "ServiceUnavailable", "busy")
    assert it.ensure({"name": "another"}).warnings and it.leads_to == TO_POOL

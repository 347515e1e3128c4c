"""InferencePools for an endpoint picker: made where they are asked for and allowed, mended, reported, and taken back.

The API server has the CRDs of the Gateway API and of its Inference Extension. The test plays the Gateway's controller;
a real picker is in tests/gateway.
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

from qwen3_operator.api.gateway import EndpointPicker
from qwen3_operator.desired.inference_pool import inference_pool

Object = dict[str, Any]
GATEWAY = {"parentRef": PARENT, "hostnames": ["llm.example"]}
PICKER = {"name": "picker"}
TO_POOL = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "chat", "weight": 1}
TO_SERVICE = {"group": "", "kind": "Service", "name": "chat", "port": 8000, "weight": 1}


@pytest.fixture(scope="session")
def picker_release(installs: Callable[..., Release]) -> Release:
    """The chart with `gateway.enabled` and `gateway.endpointPicker`."""
    values = ("gateway.enabled=true", "gateway.endpointPicker=true")
    return installs(*values, name="picker-qwen3-operator", namespace="picker-system")


@pytest.fixture
def picking(picker_release: Release, tmp_path: Path, the_operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """An operator that may make routes and pools, in the place of the session's."""
    if the_operator.running:
        the_operator.stop()
    it = picker_release.operator(tmp_path / "picking.log")
    yield it
    if it.running:
        it.stop()
    the_operator.start()


@pytest.fixture(scope="module")
def routes(cluster: devcluster.Cluster) -> Iterator[None]:
    """The CRD of HTTPRoutes, installed; gone afterwards. Once for the module: what the deletion of a CRD left half done
    the API server tries again after minutes only."""
    found = modules.http_routes()
    install(cluster, found)
    yield
    uninstall(cluster, found)


@pytest.fixture
def extension(routes: None, cluster: devcluster.Cluster) -> list[Object]:
    """The CRD of InferencePools, not installed yet; it may stay."""
    uninstall(cluster, pools_crd())
    return pools_crd()


@pytest.fixture
def served(routes: None, cluster: devcluster.Cluster) -> None:
    install(cluster, pools_crd())


@pytest.fixture
def ours(make_world: Callable[[str], World]) -> World:
    return make_world("picked")


def pools_crd() -> list[Object]:
    return [crd for crd in modules.inference_extension() if crd["spec"]["names"]["kind"] == "InferencePool"]


def cr(picker: Object | None = PICKER) -> Q3d:
    return Q3d().set(service={"gateway": GATEWAY | ({"endpointPicker": picker} if picker else {})})


def leads_to(world: World, backend: Object) -> bool:
    route = world.get("HTTPRoute", "chat")
    return route is not None and [b for rule in route["spec"]["rules"] for b in rule["backendRefs"]] == [backend]


def test_without_the_extension_the_service_serves(
    extension: list[Object], cluster: devcluster.Cluster, picking: OperatorProcess, ours: World
) -> None:
    """It is seen when it comes, and watched from then on."""
    picking.start()
    ours.apply(cr())
    ours.wait_ready("chat")
    reported = ours.wait_condition("chat", "Accepted", "True", reason="AcceptedWithWarnings")
    assert "install the CRDs of the Gateway API Inference Extension" in reported["message"]
    assert leads_to(ours, TO_SERVICE)
    assert "does not serve inferencepools" in picking.log.read_text()
    install(cluster, extension)
    ours.wait(lambda: leads_to(ours, TO_POOL), "the CRDs are seen", within=30)
    ours.wait_condition("chat", "Accepted", "True", reason="Accepted")
    ours.apply(cr(None))
    ours.wait(lambda: ours.get("InferencePool", "chat") is None, "it goes with the field")


def test_its_life(served: None, picking: OperatorProcess, ours: World) -> None:
    picking.start()
    ours.apply(cr())
    ours.wait_ready("chat")
    ours.wait(lambda: leads_to(ours, TO_POOL), "the route leads to the pool")
    spec = ours.must("InferencePool", "chat")["spec"]
    assert spec["endpointPickerRef"] == {
        "group": "",
        "kind": "Service",
        "name": "picker",
        "port": {"number": 9002},
        "failureMode": "FailOpen",
    }
    pods = ours.list("Pod", labelSelector=",".join(f"{k}={v}" for k, v in spec["selector"]["matchLabels"].items()))
    (port,) = spec["targetPorts"]
    (container,) = (c for c in pods[0]["spec"]["containers"] if c["name"] == "vllm")
    assert port["number"] in [p["containerPort"] for p in container["ports"]], "where its servers are"

    says(ours, "HTTPRoute", *GOOD)
    reported = ours.wait_condition("chat", "Routed", "True", within=5)
    assert (
        reported["message"] == "Gateway edge/public leads here from llm.example/v1; the endpoint picker picker chooses"
    )
    says(ours, "InferencePool", GOOD[0], ("ResolvedRefs", "False", "InvalidExtensionRef", "no Service picker"))
    reported = ours.wait_condition("chat", "Routed", "False", reason="InferencePoolNotAccepted", within=5)
    assert reported["message"] == "Gateway edge/public: InvalidExtensionRef: no Service picker"
    assert ours.is_ready("chat"), "the servers serve all the same"

    ours.patch("InferencePool", "chat", {"spec": {"targetPorts": [{"number": 22}]}})
    ours.wait(lambda: ours.must("InferencePool", "chat")["spec"] == spec, "an edit is undone")
    ours.delete("InferencePool", "chat")
    ours.wait(lambda: ours.get("InferencePool", "chat") is not None, "it is made again")

    ours.apply(cr(PICKER | {"failureMode": "FailClose", "proxy": {"name": "picker-proxy"}}))
    ours.wait(lambda: leads_to(ours, TO_SERVICE | {"name": "picker-proxy", "port": 8081}), "the proxy's Service")
    changed = ours.must("InferencePool", "chat")["spec"]["endpointPickerRef"]
    assert changed["failureMode"] == "FailClose"

    ours.apply(cr(None))
    ours.wait(lambda: ours.get("InferencePool", "chat") is None, "it goes with the field")
    assert leads_to(ours, TO_SERVICE)
    ours.apply(cr())
    ours.wait(lambda: leads_to(ours, TO_POOL), "it comes back")
    ours.apply(Q3d())
    ours.wait(lambda: ours.get("InferencePool", "chat") is None, "it goes with the route")
    assert ours.get("HTTPRoute", "chat") is None
    ours.apply(cr())
    ours.wait(lambda: leads_to(ours, TO_POOL), "it comes back")
    ours.delete("Qwen3Deployment", "chat")
    ours.wait_gone("InferencePool", "chat")


def test_a_pool_of_somebody_else_is_left_alone(served: None, picking: OperatorProcess, ours: World, api: Api) -> None:
    picking.start()
    theirs = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "chat", "namespace": ours.namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "theirs"}},
            "targetPorts": [{"number": 80}],
            "endpointPickerRef": {"name": "theirs", "port": {"number": 9002}},
        },
    }
    before = api.apply(theirs, manager="somebody")
    ours.apply(cr())
    ours.wait_ready("chat")
    reported = ours.wait_condition("chat", "Accepted", "True", reason="AcceptedWithWarnings")
    assert "InferencePool chat is there already and not ours" in reported["message"]
    assert leads_to(ours, TO_SERVICE)
    assert ours.must("InferencePool", "chat")["spec"] == before["spec"]
    ours.apply(cr(None))
    ours.wait_condition("chat", "Accepted", "True", reason="Accepted")
    stays(lambda: ours.get("InferencePool", "chat") is not None, seconds=1)


def test_the_crd_takes_what_we_allow(served: None, ours: World, api: Api) -> None:
    """What spec.service.gateway.endpointPicker takes at its bounds, the InferencePool of the release takes too."""
    for name, port, mode in (("p", 1, "FailOpen"), ("p" * 63, 65535, "FailClose")):
        picker = EndpointPicker.model_validate({"name": name, "port": port, "failureMode": mode})
        pool = inference_pool(ours.namespace, "chat", "00000000-0000-0000-0000-000000000000", picker)
        del pool["metadata"]["ownerReferences"]
        typed = {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", **pool}
        assert api.apply(typed, manager="test")["spec"]["endpointPickerRef"]["port"] == {"number": port}

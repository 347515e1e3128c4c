"""The front in the chart: off by default, with settings that its program takes, and hardly any rights."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chart.helm import template
from tests.cluster.rights import Right, granted

from qwen3_front.settings import Settings as FrontSettings
from qwen3_operator.desired.server import PORT
from qwen3_operator.naming import server_labels
from qwen3_operator.settings import Settings

pytestmark = pytest.mark.cluster  # helm is one of its tools

Object = dict[str, Any]
ON = "front.enabled=true"
NAME = "demo-qwen3-operator-front"


def deployment(manifests: list[Object], name: str) -> Object:
    (found,) = (m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"] == name)
    pod: Object = found["spec"]["template"]["spec"]
    return pod


def environment(pod: Object) -> dict[str, str]:
    return {it["name"]: it["value"] for it in pod["containers"][0]["env"] if "value" in it}


def test_it_is_off_and_costs_no_right() -> None:
    manifests = template()
    assert not [m for m in manifests if "front" in m["metadata"]["name"]]
    assert not [right for right in granted(manifests, "demo-qwen3-operator") if "endpointslices" in right.resource]


@pytest.mark.parametrize("namespaces", ["", "watchNamespaces={a,b}"])
def test_operator_and_front_take_what_the_chart_says(namespaces: str) -> None:
    more = ("front.firstPort=30000,front.ports=16,front.holdSeconds=900,front.maxBytesMiB=8", "settings.logLevel=DEBUG")
    manifests = template(ON, *more, *([namespaces] if namespaces else []))
    operator = Settings.from_environment(environment(deployment(manifests, "demo-qwen3-operator")))
    pod = deployment(manifests, NAME)
    front = FrontSettings.from_environment(environment(pod))
    assert operator.front_service == f"qwen3-system/{NAME}"
    assert (operator.front_first_port, operator.front_ports) == (front.first_port, front.ports) == (30000, 16)
    assert (front.hold_seconds, front.max_bytes_mib, front.log_level) == (900, 8, "DEBUG")
    assert front.namespaces == operator.namespaces == (("a", "b") if namespaces else ())
    assert front.hold_seconds < front.drain_seconds < pod["terminationGracePeriodSeconds"]


def test_the_defaults_are_those_of_the_program() -> None:
    front = FrontSettings.from_environment(environment(deployment(template(ON), NAME)))
    changed = ("drain_seconds", "log_format")
    assert front.model_dump(exclude={*changed}) == FrontSettings().model_dump(exclude={*changed})


@pytest.mark.parametrize("namespaces", ["", "watchNamespaces={a,b}"])
def test_it_may_read_endpoint_slices_and_nothing_else(namespaces: str) -> None:
    manifests = template(ON, *([namespaces] if namespaces else []))
    assert granted(manifests, NAME) == {Right(verb, "discovery.k8s.io", "endpointslices") for verb in ("list", "watch")}
    roles = [m for m in manifests if m["kind"] == "Role" and m["metadata"]["name"] == NAME]
    assert [m["metadata"]["namespace"] for m in roles] == (["a", "b"] if namespaces else [])


def test_fences_let_it_ask_the_servers() -> None:
    manifests = template(ON, "fences.enabled=true", "fences.namespaces={team}")
    (policy,) = (m for m in manifests if m["kind"] == "NetworkPolicy" and m["metadata"]["name"].endswith("-server"))
    (rule,) = policy["spec"]["ingress"]
    (pods,) = (m for m in manifests if m["kind"] == "Service" and m["metadata"]["name"] == NAME)
    assert {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "qwen3-system"}},
        "podSelector": {"matchLabels": pods["spec"]["selector"]},
    } in rule["from"]


def test_its_own_fence_lets_it_ask_servers_and_nobody_else_at_their_port() -> None:
    policies = [m for m in template(ON, "networkPolicy.enabled=true") if m["kind"] == "NetworkPolicy"]
    (policy,) = (m for m in policies if m["metadata"]["name"] == NAME)
    asks = {port["port"]: rule.get("to") for rule in policy["spec"]["egress"] for port in rule["ports"]}
    (servers,) = asks.pop(PORT) or [{}]
    assert servers["namespaceSelector"] == {}
    assert servers["podSelector"]["matchLabels"].items() <= server_labels("chat").items()
    assert asks == {443: None, 6443: None, 53: None, 5353: None}

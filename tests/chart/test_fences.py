"""The NetworkPolicies of the chart, held against the pods that the operator makes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chart.helm import HelmError, template

from qwen3_in_engine.batch_runner.contract import METRICS_PORT
from qwen3_operator.desired.server import PORT
from qwen3_operator.naming import batch_labels, model_labels, server_labels

pytestmark = pytest.mark.cluster  # helm is one of its tools

Object = dict[str, Any]
PODS = {"server": server_labels("chat"), "download": model_labels("weights"), "batch": batch_labels("nightly")}
GATEWAY = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}
ON = ("fences.enabled=true", "fences.namespaces={team}")
_OF_GATEWAY = "[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=gateway"


def fences(*settings: str) -> dict[str, Object]:
    """Component -> the spec of the one policy that selects its pods."""
    found = [
        m["spec"] for m in template(*settings) if m["kind"] == "NetworkPolicy" and m["metadata"]["namespace"] == "team"
    ]
    selecting = {
        component: [spec for spec in found if spec["podSelector"]["matchLabels"].items() <= labels.items()]
        for component, labels in PODS.items()
    }
    assert all(len(specs) == 1 for specs in selecting.values()), selecting
    return {component: specs[0] for component, specs in selecting.items()}


def peers(rules: list[Object], port: int | str) -> list[Object] | None:
    """Who is on the other side of a port; None: everybody."""
    (rule,) = [rule for rule in rules if port in [it["port"] for it in rule["ports"]]]
    found: list[Object] | None = rule.get("from", rule.get("to"))
    assert found != [], "an empty list is everybody"
    return found


def test_none_by_default() -> None:
    assert not [m for m in template("watchNamespaces={team}") if m["kind"] == "NetworkPolicy"]


def test_nothing_is_open_that_is_not_named() -> None:
    it = fences(*ON)
    for spec in it.values():
        assert spec["policyTypes"] == ["Ingress", "Egress"]
    out = {
        component: [port["port"] for rule in spec["egress"] for port in rule["ports"]] for component, spec in it.items()
    }
    dns = [53, 53, 5353, 5353]
    assert out == {"server": dns, "download": [*dns, 443], "batch": [*dns, PORT]}
    assert it["download"]["ingress"] == it["batch"]["ingress"] == []
    own = peers(it["server"]["ingress"], PORT) or []
    assert {"podSelector": {}} in own
    assert all(set(peer) == {"podSelector"} for peer in own), "no other namespace"


def test_a_batch_reaches_the_servers_whoever_else_may() -> None:
    it = fences(*ON, f"fences.from{_OF_GATEWAY}")
    (batches, gateway) = peers(it["server"]["ingress"], PORT) or []
    assert batches["podSelector"]["matchLabels"].items() <= PODS["batch"].items()
    assert gateway == GATEWAY
    (servers,) = peers(it["batch"]["egress"], PORT) or []
    assert servers["podSelector"]["matchLabels"].items() <= PODS["server"].items()


def test_nobody_to_ask_is_not_everybody() -> None:
    (only,) = peers(fences(*ON, "fences.from=null")["server"]["ingress"], PORT) or []
    assert only["podSelector"]["matchLabels"].items() <= PODS["batch"].items()


def test_who_reads_metrics() -> None:
    it = fences(*ON, f"fences.metricsFrom{_OF_GATEWAY}")
    assert peers(it["batch"]["ingress"], METRICS_PORT) == [GATEWAY]
    assert GATEWAY in (peers(it["server"]["ingress"], PORT) or [])


def test_a_proxy_in_the_place_of_the_hub() -> None:
    it = fences(*ON, "fences.hubPorts={3128}", f"fences.hubTo{_OF_GATEWAY}", f"fences.dnsTo{_OF_GATEWAY}")
    assert peers(it["download"]["egress"], 3128) == [GATEWAY]
    assert all(peers(spec["egress"], 53) == [GATEWAY] for spec in it.values())


def test_they_are_where_the_operator_serves() -> None:
    found = [m for m in template("fences.enabled=true", "watchNamespaces={a,b}") if m["kind"] == "NetworkPolicy"]
    assert sorted({m["metadata"]["namespace"] for m in found}) == ["a", "b"] and len(found) == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["fences.enabled=true"], "fences.namespaces"),
        ([*ON, "fences.from[0].pod=x"], "pod"),
        ([*ON, "fences.hubPorts={https}"], "hubPorts"),
        ([*ON, "fences.hubTo[0].ipBlock.except={10.0.0.0/8}"], "cidr"),
    ],
)
def test_bad_values_are_refused_in_words(settings: list[str], words: str) -> None:
    with pytest.raises(HelmError, match=words):
        template(*settings)

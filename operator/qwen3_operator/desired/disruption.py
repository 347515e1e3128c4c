"""What keeps an endpoint up while nodes are drained, and servers apart where they can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import server_selector

Object = Mapping[str, Any]
_SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
_MANY_NODES = ("ReadWriteMany", "ReadOnlyMany")


def wants_budget(spec: Qwen3DeploymentSpec) -> bool:
    """Whether servers have a PodDisruptionBudget: one server alone could never be evicted, or is, budget or not."""
    most = spec.autoscaling.max_replicas if spec.autoscaling else spec.replicas
    return spec.disruption_budget == "Auto" and most > 1


def disruption_budget(namespace: str, name: str, uid: str) -> dict[str, Any]:
    """The PodDisruptionBudget of the servers of the Qwen3Deployment `name`: one at a time is evicted."""
    return {
        "metadata": child_metadata(namespace, name, uid),
        "spec": {
            "maxUnavailable": 1,
            # A server that does not answer yet, or never will, keeps no node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": server_selector(name)},
        },
    }


def selects_servers(budget: Object, pods: Mapping[str, str]) -> bool:
    """Whether a PodDisruptionBudget covers pods with these labels. The API server evicts no pod that two cover."""
    selector = (budget.get("spec") or {}).get("selector")
    if selector is None:
        return False
    if any(pods.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(expression, pods) for expression in selector.get("matchExpressions") or ())


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value, listed = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in listed
        case "NotIn":
            return value not in listed
        case "Exists":
            return value is not None
        case _:  # DoesNotExist
            return value is None


def is_of_one_node(claim: Object | None) -> bool:
    """Whether only one node at a time may have the volume of a claim; so it is where nobody knows the claim."""
    modes = ((claim or {}).get("spec") or {}).get("accessModes") or ()
    return not any(mode in _MANY_NODES for mode in modes)


def _asks_for_one_node(spec: Qwen3DeploymentSpec) -> bool:
    """Whether servers will mount a volume that only one node may have at a time."""
    cache = spec.engine.compile_cache
    modes = [spec.source.storage.access_mode] + ([cache.access_mode] if cache is not None and cache.enabled else [])
    return any(mode not in _MANY_NODES for mode in modes)


def spread(name: str, spec: Qwen3DeploymentSpec) -> dict[str, Any]:
    """Default topology spread of the servers, as fields of a PodSpec: a wish, which never keeps one from its node.

    Nothing where the spec has constraints of its own, or where the volume with the weights ties them to one node.
    """
    of_one_node = spec.source.storage.existing_claim or _asks_for_one_node(spec)
    if spec.scheduling.topology_spread_constraints or of_one_node:
        return {}
    constraints = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": server_selector(name)},
            "matchLabelKeys": ["pod-template-hash"],  # while servers are replaced, those of before do not count
        }
        for key in _SPREAD_OVER
    ]
    return {"topologySpreadConstraints": constraints}

"""Budgets and spread of servers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.wrappers import Q3d

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.disruption import is_of_one_node, selects_servers, spread, wants_budget

LABELS = {"app": "vllm", "team": "a"}


def spec(made: Q3d) -> Qwen3DeploymentSpec:
    return Qwen3DeploymentSpec.model_validate(made.spec)


@pytest.mark.parametrize(
    ("selector", "covers"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "vllm"}}, True),
        ({"matchLabels": {"app": "vllm", "team": "b"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "vllm"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, False),
    ],
)
def test_whom_a_budget_covers(selector: dict[str, Any] | None, covers: bool) -> None:
    assert selects_servers({"spec": {"selector": selector}}, LABELS) is covers


def test_who_has_a_budget() -> None:
    assert wants_budget(spec(Q3d().set(replicas=2)))
    assert not wants_budget(spec(Q3d().set(replicas=1)))
    assert not wants_budget(spec(Q3d().set(replicas=2, disruptionBudget="Off")))


def test_only_servers_that_can_leave_the_volumes_node_are_spread() -> None:
    many = Q3d().storage(accessMode="ReadWriteMany")
    constraints = spread("chat", spec(many))["topologySpreadConstraints"]
    assert {c["whenUnsatisfiable"] for c in constraints} == {"ScheduleAnyway"}
    own = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    for other in (Q3d(), Q3d().storage(accessMode="ReadWriteOnce"), many.scheduling(topologySpreadConstraints=[own])):
        assert spread("chat", spec(other)) == {}


@pytest.mark.parametrize(
    ("claim", "one"),
    [
        (None, True),
        ({"spec": {}}, True),
        ({"spec": {"accessModes": ["ReadWriteOnce"]}}, True),
        ({"spec": {"accessModes": ["ReadWriteOncePod"]}}, True),
        ({"spec": {"accessModes": ["ReadWriteMany"]}}, False),
        ({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}}, False),
    ],
)
def test_which_volumes_are_of_one_node(claim: dict[str, Any] | None, one: bool) -> None:
    assert is_of_one_node(claim) is one

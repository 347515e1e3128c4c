"""What a spec may hold at the most: each case is accepted at its bound, and refused beyond it (attacks 01, 03, 09)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.patch import MAX_PATCH
from qwen3_operator.api.source import Scheduling

MODEL = {"id": "Qwen/Qwen3-0.6B"}


def nested(levels: int) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for _ in range(levels - 1):
        patch = {"a": patch}
    return patch


def with_patch(patch: Any) -> dict[str, Any]:
    return {"model": MODEL, "podTemplatePatch": patch}


def with_rate(rate: Any) -> dict[str, Any]:
    return {"model": MODEL | {"download": {"bytesPerSecond": rate}}}


def with_size(size: Any) -> dict[str, Any]:
    return {"model": MODEL | {"storage": {"size": size}}}


def with_memory(memory: Any) -> dict[str, Any]:
    return {"model": MODEL, "resources": {"limits": {"memory": memory}}}


def with_node(**labels: str) -> dict[str, Any]:
    return {"model": MODEL, "scheduling": {"nodeSelector": labels}}


BOUNDS = {
    "levels of a patch (01)": (with_patch(nested(32)), with_patch(nested(33)), "nested deeper than 32 levels"),
    "many levels of a patch (01)": (with_patch(nested(9)), with_patch(nested(9000)), "nested deeper than 32 levels"),
    "values of a patch (09)": (
        with_patch({"x": [{}] * (MAX_PATCH - 3)}),
        with_patch({"x": [{}] * 460_000}),
        "characters large",
    ),
    "words of a patch": (with_patch({"x": "a" * 32_000}), with_patch({"x": "a" * 32_768}), "characters large"),
    "text of a patch": (with_patch("#" * MAX_PATCH), with_patch("#" * (MAX_PATCH + 1)), "at most 32768 characters"),
    "a rate (03)": (with_rate("1Ti"), with_rate("1e999999"), "must be a quantity from 16Ki to 1Ti, like 50Mi"),
    "a rate beyond": (with_rate(2**40), with_rate(2**40 + 1), "must be a quantity from 16Ki to 1Ti, like 50Mi"),
    "a small rate": (with_rate("16Ki"), with_rate("16383"), "must be a quantity from 16Ki to 1Ti, like 50Mi"),
    "a size": (with_size("1Pi"), with_size("1.1Pi"), "must be a quantity greater than 0 and at most 1Pi"),
    "a size of a million digits": (with_size("1e15"), with_size("1e999999"), "at most 1Pi"),
    "a small size": (with_size("1n"), with_size("0"), "must be a quantity greater than 0"),
    "a resource": (with_memory("1Pi"), with_memory("2Pi"), "must be a quantity from 0 to 1Pi"),
    "no resource": (with_memory("0"), with_memory("-1"), "must be a quantity from 0 to 1Pi"),
    "a label's name": (with_node(**{"a.b/c": "d"}), with_node(**{"a,b": "c"}), "must be the name of a label"),
    "a label's value": (with_node(a="v-1.x_2"), with_node(a="b,c!=d"), "should match pattern"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bound(name: str) -> None:
    good, bad, words = BOUNDS[name]
    Qwen3DeploymentSpec.model_validate(good)
    with pytest.raises(ValidationError, match=words):
        Qwen3DeploymentSpec.model_validate(bad)


def test_a_model_is_bounded_alike() -> None:
    with pytest.raises(ValidationError, match="must be a quantity from 16Ki to 1Ti"):
        Qwen3ModelSpec.model_validate(with_rate("1e999999")["model"])


TERM = {
    "labelSelector": {
        "matchLabels": {"app": "x"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "z", "operator": "Exists"},
        ],
    },
    "namespaceSelector": {},
    "namespaces": ["a"],
    "topologyKey": "kubernetes.io/hostname",
    "matchLabelKeys": ["pod-template-hash"],
    "mismatchLabelKeys": ["tenant"],
}
NODES = {
    "matchExpressions": [{"key": "gpus", "operator": "Gt", "values": ["4"]}],
    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}],
}
PODS = {
    "requiredDuringSchedulingIgnoredDuringExecution": [TERM],
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "podAffinityTerm": TERM}],
}
AFFINITY: dict[str, Any] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [NODES]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": NODES}],
    },
    "podAffinity": PODS,
    "podAntiAffinity": PODS,
}
SPREAD: list[dict[str, Any]] = [
    {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": TERM["labelSelector"],
        "matchLabelKeys": ["pod-template-hash"],
        "minDomains": 2,
        "nodeAffinityPolicy": "Honor",
        "nodeTaintsPolicy": "Ignore",
    }
]


@pytest.mark.parametrize(
    "affinity",
    [
        AFFINITY,
        {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        {"nodeAffinity": {}},
        {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "z"}]
            }
        },
    ],
)
def test_parts_of_a_pod_are_passed_on_as_they_were_given(affinity: dict[str, Any]) -> None:
    """Whatever is left out or added restarts every server at an upgrade."""
    given = {"affinity": affinity, "topologySpreadConstraints": SPREAD}
    scheduling = Scheduling.model_validate(given)
    assert scheduling.pod_fields(server=True) == given
    assert scheduling.pod_fields(server=False) == {"affinity": affinity}
    assert scheduling.model_dump(by_alias=True, exclude_defaults=True) == given
    json.dumps(scheduling.pod_fields(server=True))


@pytest.mark.parametrize("scheduling", [{}, {"affinity": {}}, {"affinity": {}, "topologySpreadConstraints": []}])
def test_nothing_given_is_nothing_passed_on(scheduling: dict[str, Any]) -> None:
    assert Scheduling.model_validate(scheduling).pod_fields(server=True) == {}


SOURCES: list[dict[str, Any]] = [
    {"secretKeyRef": {"name": "a", "key": "b", "optional": True}},
    {"configMapKeyRef": {"name": "a", "key": "b"}},
    {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}},
    {"resourceFieldRef": {"containerName": "vllm", "resource": "limits.memory", "divisor": "1Mi"}},
    {"resourceFieldRef": {"resource": "limits.cpu", "divisor": 1}},
    {"fileKeyRef": {"volumeName": "v", "path": "env", "key": "A", "optional": False}},
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: next(iter(source)))
def test_sources_of_variables_are_passed_on_as_they_were_given(source: dict[str, Any]) -> None:
    spec = Qwen3DeploymentSpec.model_validate({"model": MODEL, "engine": {"env": [{"name": "A", "valueFrom": source}]}})
    dumped = spec.engine.env[0].model_dump(by_alias=True, exclude_none=True)
    assert dumped == {"name": "A", "valueFrom": source}

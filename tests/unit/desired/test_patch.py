"""Strategic merge patch of a pod template."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.desired.patch import MERGE_KEYS, PatchError, strategic_merge

BASE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "containers": [
            {
                "name": "vllm",
                "image": "x",
                "args": ["1", "2"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "volumeMounts": [{"mountPath": "/tmp", "name": "tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "tolerations": [{"key": "gpu"}],
    },
}


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "vllm", **fields}]}}


@pytest.mark.parametrize(
    ("patch", "read", "value"),
    [
        ({"metadata": {"labels": {"b": "2"}}}, lambda t: t["metadata"]["labels"], {"a": "1", "b": "2"}),
        ({"metadata": {"labels": {"a": None}}}, lambda t: t["metadata"]["labels"], {}),
        (container(image="y"), lambda t: t["spec"]["containers"][0]["image"], "y"),
        (container(args=["3"]), lambda t: t["spec"]["containers"][0]["args"], ["3"]),
        (
            container(env=[{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]),
            lambda t: {e["name"]: e["value"] for e in t["spec"]["containers"][0]["env"]},
            {"A": "1", "B": "3", "C": "4"},
        ),
        (
            container(env=[{"name": "A", "$patch": "delete"}]),
            lambda t: t["spec"]["containers"][0]["env"],
            [{"name": "B", "value": "2"}],
        ),
        (
            container(env=[{"name": "A", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
            lambda t: t["spec"]["containers"][0]["env"][0],
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ),
        (
            {"spec": {"containers": [{"name": "sidecar", "image": "s"}]}},
            lambda t: [c["name"] for c in t["spec"]["containers"]],
            ["vllm", "sidecar"],
        ),
        (
            container(volumeMounts=[{"mountPath": "/tmp", "name": "disk"}, {"mountPath": "/data", "name": "tmp"}]),
            lambda t: t["spec"]["containers"][0]["volumeMounts"],
            [{"mountPath": "/tmp", "name": "disk"}, {"mountPath": "/data", "name": "tmp"}],
        ),
        ({"spec": {"tolerations": [{"key": "other"}]}}, lambda t: t["spec"]["tolerations"], [{"key": "other"}]),
        ({"spec": {"volumes": None}}, lambda t: t["spec"].get("volumes"), None),
        ({"spec": {"hostNetwork": True}}, lambda t: t["spec"]["hostNetwork"], True),
        ({"metadata": {"$patch": "replace", "labels": {"z": "9"}}}, lambda t: t["metadata"], {"labels": {"z": "9"}}),
        ({}, lambda t: t, BASE),
    ],
)
def test_merge(patch: dict[str, Any], read: Any, value: Any) -> None:
    assert read(strategic_merge(BASE, patch)) == value


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"spec": {"containers": [{"image": "y"}]}}, r"podTemplatePatch.spec.containers\[0\] has no name"),
        ({"spec": {"containers": ["vllm"]}}, r"podTemplatePatch.spec.containers\[0\] has no name"),
        (container(volumeMounts=[{"name": "tmp"}]), r"containers\[0\].volumeMounts\[0\] has no mountPath"),
    ],
)
def test_an_item_without_its_key_is_named(patch: dict[str, Any], words: str) -> None:
    with pytest.raises(PatchError, match=words):
        strategic_merge(BASE, patch)


def test_the_base_is_left_as_it_is() -> None:
    before = repr(BASE)
    strategic_merge(BASE, container(image="y", env=[{"name": "A", "$patch": "delete"}]))
    assert repr(BASE) == before


NAMES = st.sampled_from("pqrs")
LEAVES = st.sampled_from(["1", "2", True, 7])
ITEMS = st.lists(
    st.builds(lambda n, v: {"name": n, "value": v}, NAMES, LEAVES), max_size=3, unique_by=lambda i: i["name"]
)
TEMPLATES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=2).flatmap(
        lambda d: st.builds(lambda items: d | ({"env": items} if items else {}), ITEMS)
    ),
    max_leaves=6,
)


@given(TEMPLATES, TEMPLATES)
def test_a_patch_merged_twice_is_a_patch_merged_once(base: dict[str, Any], patch: dict[str, Any]) -> None:
    once = strategic_merge(base, patch)
    assert strategic_merge(once, patch) == once


@given(TEMPLATES)
def test_an_empty_patch_changes_nothing_and_a_patch_on_nothing_is_itself(template: dict[str, Any]) -> None:
    assert strategic_merge(template, {}) == template
    assert strategic_merge({}, template) == template


@given(TEMPLATES, NAMES)
def test_null_removes(template: dict[str, Any], key: str) -> None:
    assert key not in strategic_merge(template, {key: None})


def test_every_list_of_a_pod_that_merges_has_its_key() -> None:
    assert MERGE_KEYS["containers"] == MERGE_KEYS["env"] == MERGE_KEYS["volumes"] == "name"
    assert MERGE_KEYS["volumeMounts"] == "mountPath" and MERGE_KEYS["ports"] == "containerPort"

"""Strategic merge patch of a pod template."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from qwen3_operator.desired.patch import MERGE_KEYS, PatchError, patched, strategic_merge

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


REFUSED: dict[str, tuple[Any, str]] = {
    # Attack 16.
    "a word for labels": (
        {"metadata": {"labels": "text"}},
        r"metadata\.labels is the value 'text', and has to be a map",
    ),
    "a directive alone": ({"$patch": "replace"}, r"\$patch: a patch changes the pod template"),
    "a list for metadata": ({"metadata": []}, "metadata is a list, and has to be a map"),
    # Their sisters.
    "no metadata": ({"metadata": None}, "metadata: it cannot be taken away"),
    "no spec": ({"spec": {"$patch": "delete"}}, "spec: it cannot be taken away"),
    "a label that is a number": (
        {"metadata": {"labels": {"a": 1}}},
        r"metadata\.labels\.a is the value 1, and has to be",
    ),
    "labels made afresh": ({"metadata": {"$patch": "replace", "labels": []}}, r"metadata\.labels is a list"),
    "a word for a spec": ({"spec": "x"}, "spec is the value 'x', and has to be a map"),
    "a map for containers": ({"spec": {"containers": {}}}, r"spec\.containers is a map, and has to be a list"),
    "a list for an image": (container(image=["x"]), r"containers\[0\]\.image is a list, and has to be the value 'x'"),
    "a list for a word": ({"spec": {"containers": [{"name": ["vllm"]}]}}, r"containers\[0\]\.name is a list"),
    "an unknown directive": ({"spec": {"$patch": {}}}, r"spec\.\$patch: dict is none of merge, replace"),
    "another directive": ({"spec": {"$retainKeys": []}}, r"spec\.\$retainKeys: of the directives only \$patch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_patch_that_is_none_is_refused_by_its_field(name: str) -> None:
    patch, words = REFUSED[name]
    with pytest.raises(PatchError, match=rf"^podTemplatePatch.*{words}"):
        patched(BASE, patch)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (
            container(env=[{"name": "X", "valueFrom": "oops"}]),
            "[2].valueFrom is the value 'oops', and has to be a map",
        ),
        (container(env=[{"name": "X", "valueFrom": {"secretKeyRef": []}}]), "valueFrom.secretKeyRef is a list"),
        (container(env=[{"name": "X", "value": {"a": 1}}]), "env[2].value is a map, and has to be a text or a number"),
        (container(envFrom=[{"secretRef": "oops"}]), "envFrom[0].secretRef is the value 'oops'"),
        (container(envFrom=["oops"]), "envFrom[0] is the value 'oops', and has to be a map"),
        (container(command="run"), "command is the value 'run', and has to be a list"),
        (container(args=["--x", {"a": 1}]), "args[1] is a map, and has to be a text or a number"),
        (container(resources={"limits": {"cpu": []}}), "limits.cpu is a list, and has to be a text or a number"),
        ({"spec": {"volumes": [{"name": "x", "persistentVolumeClaim": 1}]}}, "persistentVolumeClaim is the value 1"),
        ({"spec": {"volumes": [{"name": "x", "configMap": {"name": []}}]}}, "configMap.name is a list"),
    ],
)
def test_what_the_operator_reads_has_its_shape(patch: dict[str, Any], words: str) -> None:
    """A wrong indentation is enough; the API server would say it after the download alone."""
    with pytest.raises(PatchError, match=re.escape(words)):
        patched(BASE, patch)


def test_null_means_the_same_in_what_the_patch_adds() -> None:
    added = patched(BASE, {"spec": {"securityContext": {"runAsUser": None, "fsGroup": 1}}})
    assert added["spec"]["securityContext"] == {"fsGroup": 1}
    assert "volumes" not in patched(BASE, {"spec": {"volumes": None}})["spec"]
    assert "labels" not in patched(BASE, {"metadata": {"labels": {"$patch": "delete"}}})["metadata"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*MERGE_KEYS, "metadata", "spec", "labels", "annotations", "name", "$patch", "image", "x", ""]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "$patch", "x"]), JSON, max_size=3) | JSON)
def test_any_json_is_a_patch_or_refused(patch: Any) -> None:
    """As text, and as an older CRD stored it: what comes out can be a pod template."""
    forms: list[Any] = [json.dumps(patch), *([patch] if isinstance(patch, dict) else [])]
    for given_as in forms:
        try:
            template = patched(BASE, given_as)
        except PatchError as error:
            assert str(error).startswith("podTemplatePatch")
            continue
        assert isinstance(template["spec"], dict)
        texts = template["metadata"].get("labels", {}) | template["metadata"].get("annotations", {})
        assert all(isinstance(text, str) for text in texts.values())
        json.dumps(template, allow_nan=False)


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
    try:
        once = strategic_merge(base, patch)
    except PatchError:
        reject()  # a map in the place of a word, or the other way round
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

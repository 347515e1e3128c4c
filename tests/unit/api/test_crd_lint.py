"""Our CRDs against Kubernetes' API conventions, in the spirit of kube-api-linter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qwen3_operator.api.crd import MAX_NAME, crds

Node = dict[str, Any]
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in crds()}
MAX_TEXT = 65536
# A part of Kubernetes' own API, or facts of a config.json, passed on as they are.
# A Qwen3Batch without engine and gpu may take those of a Qwen3Deployment.
SWITCHED_ON_BY_PRESENCE = {"spec.benchmark", "spec.engine.compileCache", "spec.engine", "spec.gpu"}
EXCLUSIVE = {("Qwen3Batch", "spec.engine"), ("Qwen3Batch", "spec.gpu"), ("Qwen3Batch", "spec.verify")}
"""Absent beside what excludes it, so without a default."""
PASSED_ON = "x-kubernetes-preserve-unknown-fields"


def schema(kind: str) -> Node:
    """The root of the CRD's schema."""
    it: Node = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return it


def nodes(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node below `node` with its path."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from nodes(child, f"{path}.{name}")
    for word, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(node.get(word), dict):
            yield path + suffix, node[word]
            yield from nodes(node[word], path + suffix)


FIELDS = [
    pytest.param(path, node, id=f"{kind}{path}")
    for kind in CRDS
    for path, node in nodes(schema(kind))
    if path != ".metadata"
]


def _text_that_was_an_object(node: Node) -> bool:
    """A typed field would be pruned where an older CRD stored an object: see api/patch.py."""
    text = bool(node.get(PASSED_ON)) and node["maxLength"] <= MAX_TEXT
    return text and (node["maxProperties"], node["maxItems"]) == (0, 0)


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_nothing_is_passed_on_unbounded(path: str, node: Node) -> None:
    """Depth and size of what has no schema are whatever somebody sends: 6.7 KB of nesting ended the operator."""
    if node.get(PASSED_ON):
        assert path in (".spec.podTemplatePatch", ".status.model.config", ".status.model.checkpoint")


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_field(path: str, node: Node) -> None:
    """Type, bounds, list types and words of one field."""
    kind = node.get("type")
    assert kind or node.get("x-kubernetes-int-or-string") or _text_that_was_an_object(node), "no type"
    assert kind != "number", "a float: rounding differs between languages"
    assert not node.get("nullable") and "title" not in node and "$ref" not in node and "anyOf" not in node
    if not path.endswith(("[]", "{}")):
        assert node.get("description", "").strip().endswith((".", "?")), "kubectl explain says nothing"
        assert path.rsplit(".", 1)[-1] not in ("phase", "state"), "conditions are the state"
    if kind == "string":
        assert "enum" in node or 0 < node.get("maxLength", 0) <= MAX_TEXT, "an unbounded string"
    if kind == "integer":
        assert node["format"] in ("int32", "int64")
        assert "minimum" in node and node["maximum"] <= 2**53 - 1, "beyond what JSON readers hold"
    if kind == "array":
        assert 0 < node["maxItems"] <= 1024
        assert node["x-kubernetes-list-type"] in ("map", "set", "atomic"), "merging of the list is not said"
        for key in node.get("x-kubernetes-list-map-keys", []):
            assert key in node["items"]["required"] or "default" in node["items"]["properties"][key]
    if kind == "object" and "additionalProperties" in node:
        assert 0 < node["maxProperties"] <= 1024
    if kind == "object":
        assert "properties" in node or "additionalProperties" in node or node.get(PASSED_ON)
    for rule in node.get("x-kubernetes-validations", []):
        assert rule["message"] and not rule["message"].endswith("."), "a rule without words for a person"


def _readings(node: Node, times: int = 1) -> Iterator[int]:
    """How often functions of each rule read a quantity: for its type, for whether it is one, and for what it is."""
    if node.get("x-kubernetes-int-or-string"):
        for rule in node.get("x-kubernetes-validations", []):
            yield times * len(re.findall(r"(type|isQuantity|quantity)\(self\)", rule["rule"]))
    for child in node.get("properties", {}).values():
        yield from _readings(child, times)
    for word, most in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        if isinstance(node.get(word), dict):
            yield from _readings(node[word], times * node[most])


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_old_api_servers_take_the_rules(kind: str) -> None:
    """Kubernetes 1.31 takes each quantity for 3 MiB long: 0.1 a byte and reading, at most 10 million a rule and 100 in
    all. Measured there: 30 readings pass, 32 do not. `make test-cluster KUBERNETES=1.31` asks itself."""
    readings = list(_readings(schema(kind)))
    assert 0 < max(readings) <= 30 and sum(readings) <= 300


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_defaults_are_reached(kind: str) -> None:
    """A default applies only where its parent is there: every parent with a default in it defaults to {} itself.

    Not where presence is the user's choice: an object with a required field, or one that switches something on.
    """

    def check(node: Node, path: str) -> None:
        for name, child in node.get("properties", {}).items():
            chosen = child.get("required") or f"{path}.{name}" in SWITCHED_ON_BY_PRESENCE
            chosen = chosen or (kind, f"{path}.{name}") in EXCLUSIVE
            if any("default" in grandchild for grandchild in child.get("properties", {}).values()) and not chosen:
                assert "default" in child or name in node.get("required", []), f"{path}.{name} hides its defaults"
            check(child, f"{path}.{name}")

    check(schema(kind)["properties"]["spec"], "spec")


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_shape(kind: str) -> None:
    version = CRDS[kind]["spec"]["versions"][0]
    root = schema(kind)
    assert root["required"] == ["spec"], "status is not the user's to give"
    assert "required" not in root["properties"]["status"], "every status field is optional"
    assert "status" in version["subresources"]
    conditions = root["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert {"type", "status", "reason", "message", "lastTransitionTime", "observedGeneration"} == set(
        conditions["items"]["properties"]
    )
    assert conditions["items"]["properties"]["status"]["enum"] == ["True", "False", "Unknown"]
    assert "observedGeneration" in root["properties"]["status"]["properties"]
    assert root["properties"]["status"]["default"] == {"observedGeneration": 0}, (
        "without one it seems finished (kstatus)"
    )
    name_rule, *others = root["x-kubernetes-validations"]
    assert str(MAX_NAME) in name_rule["rule"]
    assert ["'kubernetes'" in rule["rule"] for rule in others] == [True] * (kind == "Qwen3Deployment")


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_discovery(kind: str) -> None:
    names = CRDS[kind]["spec"]["names"]
    assert names["plural"] in (f"{kind.lower()}s", f"{kind.lower()}es") and names["singular"] == kind.lower()
    assert names["categories"] == ["qwen3"], "not `all`: kubectl delete all would delete weights"
    assert names["shortNames"]
    columns = CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [c["name"] for c in columns]
    assert shown[:2] in (["Ready", "Reason"], ["Completed", "Reason"]) and "Age" in shown


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_printer_columns_and_scale_point_at_fields(kind: str) -> None:
    version = CRDS[kind]["spec"]["versions"][0]
    paths = [c["jsonPath"] for c in version["additionalPrinterColumns"]]
    paths += list(version["subresources"].get("scale", {}).values())
    paths += [s["jsonPath"] for s in version.get("selectableFields", [])]
    known = {path for path, _ in nodes(schema(kind))}
    for path in paths:
        assert path.split("[?")[0] in known or path == ".metadata.creationTimestamp", path


def test_a_deployment_scales() -> None:
    scale = CRDS["Qwen3Deployment"]["spec"]["versions"][0]["subresources"]["scale"]
    assert set(scale) == {"specReplicasPath", "statusReplicasPath", "labelSelectorPath"}

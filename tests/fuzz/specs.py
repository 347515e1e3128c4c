"""Specs that the CRD's schema allows, as hypothesis strategies made from the schema itself.

What a schema cannot say (CEL rules, names of things that exist) is said in WORDS, by the path of the field.
A field that is added to the API is drawn here from the next run on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

CRD = Path(__file__).parents[2] / "crds" / "qwen3deployments.yaml"
Node = dict[str, Any]

QUANTITIES = st.sampled_from(["1", 2, "500m", "1000m", "4Gi", "8192Mi", "16Gi"])
SIZES = st.sampled_from(["20Gi", "40Gi", "81920Mi"])
LABELS = st.dictionaries(st.sampled_from(["team", "example.org/tier"]), st.sampled_from(["a", "b", ""]), max_size=2)
PATCHES = st.sampled_from(
    [
        {},
        {"metadata": {"annotations": {"mesh": "off"}}},
        {"spec": {"containers": [{"name": "vllm", "env": [{"name": "PATCHED", "value": "1"}]}]}},
        {"spec": {"containers": [{"name": "vllm", "livenessProbe": None}], "hostIPC": False}},
        {"spec": {"containers": [{"image": "an item without its key"}]}},
        {"spec": {"restartPolicy": "Never"}},
        {"spec": {"noSuchField": True}},
        {"metadata": None},
        {"metadata": {"labels": None}},
        {"metadata": {"labels": "words"}},
        {"spec": {"containers": "words"}},
        {"spec": {"containers": [{"name": "vllm", "env": [{"name": []}]}]}},
    ]
)
NAMES = st.sampled_from(["there", "missing"])
KEY_REF = st.fixed_dictionaries(
    {"name": st.sampled_from(["there", "missing"]), "key": st.sampled_from(["key", "none"])}
)
WORDS: dict[str, SearchStrategy[Any]] = {
    ".model.id": st.sampled_from(
        ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen2-7B", "me/mine"]
    ),
    ".model.revision": st.sampled_from(["master", "v1.0", "feature/x"]),
    ".model.endpoint": st.sampled_from(["https://mirror.example", "http://10.0.0.1:8080/hub"]),
    ".model.tokenSecretRef": KEY_REF,
    ".model.storage.size": SIZES,
    ".model.storage.storageClassName": st.sampled_from(["simulated", "simulated-immediate"]),
    ".model.storage.existingClaim": st.nothing(),
    ".engine.image": st.sampled_from(["vllm/vllm-openai:v0.33.0", "vllm/vllm-openai:v0.10.0", "mine:latest"]),
    ".engine.version": st.sampled_from(["0.33.0", "0.10.0", "0.8.5"]),
    ".engine.extraArgs": st.lists(
        st.sampled_from(["--enforce-eager", "--seed=1", "--port=1", "--no-such-flag", "--max-num-seqs=4", "words"]),
        max_size=2,
    ),
    ".engine.chatTemplate.configMapKeyRef": KEY_REF,
    ".engine.maxModelLen": st.sampled_from([1, 1024, 40960, 131072, 16_777_216]),
    ".engine.tensorParallelSize": st.sampled_from([1, 2, 3, 8]),
    ".engine.pipelineParallelSize": st.sampled_from([1, 2]),
    ".gpu.resourceName": st.just("nvidia.com/gpu"),
    ".gpu.memory": st.sampled_from(["24Gi", "80Gi", "1Mi"]),
    ".replicas": st.sampled_from([0, 1, 2]),
    ".scheduling.affinity": st.just({}),
    ".scheduling.topologySpreadConstraints[]": st.sampled_from(
        [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 0},
        ]
    ),
    ".auth.apiKeySecretRef": KEY_REF,
    ".podTemplatePatch": PATCHES,
    ".engine.env[].valueFrom": st.sampled_from([{"fieldRef": {"fieldPath": "status.podIP"}}, {"nonsense": 1}]),
}


def specs() -> SearchStrategy[Node]:
    """Specs of a Qwen3Deployment, most of which the API server admits."""
    crd = yaml.safe_load(CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return _of(schema, "")


def _of(node: Node, path: str) -> SearchStrategy[Any]:
    if path in WORDS:
        return WORDS[path]
    if node.get("x-kubernetes-int-or-string"):
        return QUANTITIES
    if "enum" in node:
        return st.sampled_from(node["enum"])
    made: dict[str, Any] = {
        "boolean": lambda: st.booleans(),
        "integer": lambda: st.integers(node["minimum"], min(node["maximum"], node["minimum"] + 70_000)),
        "string": lambda: _text(node),
        "array": lambda: _list(node, path),
        "object": lambda: _object(node, path),
    }
    it: SearchStrategy[Any] = made[node["type"]]()
    return it


def _text(node: Node) -> SearchStrategy[str]:
    if "pattern" in node:
        return st.from_regex(node["pattern"], fullmatch=True).filter(lambda text: len(text) <= node["maxLength"])
    return NAMES


def _list(node: Node, path: str) -> SearchStrategy[Any]:
    keys = node.get("x-kubernetes-list-map-keys")
    unique = (lambda item: str([item.get(key) for key in keys])) if keys else str
    return st.lists(_of(node["items"], f"{path}[]"), max_size=2, unique_by=unique)


def _object(node: Node, path: str) -> SearchStrategy[Any]:
    if "properties" not in node:
        return LABELS if node.get("additionalProperties", {}).get("type") == "string" else st.just({})
    fields = {name: _of(child, f"{path}.{name}") for name, child in node["properties"].items()}
    required = {name: strategy for name, strategy in fields.items() if name in node.get("required", [])}
    optional = {name: strategy for name, strategy in fields.items() if name not in required and not strategy.is_empty}
    # Few fields at a time: a spec with everything in it is mostly refused for one of them.
    few = st.sets(st.sampled_from(sorted(optional)), max_size=3) if optional else st.just(set())
    return few.flatmap(lambda chosen: st.fixed_dictionaries(required | {name: optional[name] for name in chosen}))

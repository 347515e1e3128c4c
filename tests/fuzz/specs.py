"""Specs that the CRD's schema allows, as hypothesis strategies made from the schema itself.

What a schema cannot say (CEL rules, names of things that exist) is said in WORDS, by the path of the field.
A field that is added to the API is drawn here from the next run on.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

CRD = Path(__file__).parents[2] / "crds" / "qwen3deployments.yaml"
Node = dict[str, Any]
Words = dict[str, SearchStrategy[Any]]

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


def _keys(ref: Node) -> Node:
    limits = {"default": {"maxConcurrent": 8}, "teams": [{"name": "team-a", "requestsPerMinute": 60}]}
    return {"keys": {"secretRef": {"name": ref["name"]}}, "limits": limits}


def _autoscaling(servers: int) -> Node:
    return {"minReplicas": servers, "maxReplicas": max(servers, 1), "target": {"concurrency": 8}}


WORDS: dict[str, SearchStrategy[Any]] = {
    ".modelRef": st.nothing(),
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
    ".engine.loraAdapters": st.lists(st.just({"name": "sql", "id": "me/sql"}), max_size=1),
    ".engine.maxLoraRank": st.sampled_from([8, 64, 100]),
    ".engine.maxLoras": st.sampled_from([1, 8]),
    ".engine.maxModelLen": st.sampled_from([1, 1024, 40960, 131072, 16_777_216]),
    ".engine.tensorParallelSize": st.sampled_from([1, 2, 3, 8]),
    ".engine.pipelineParallelSize": st.sampled_from([1, 2]),
    ".gpu.resourceName": st.just("nvidia.com/gpu"),
    ".gpu.memory": st.sampled_from(["24Gi", "80Gi", "1Mi"]),
    ".replicas": st.sampled_from([0, 1, 2]),
    # Of one number each: where an autoscaler chooses, it is its history that decides.
    ".autoscaling": st.integers(0, 2).map(_autoscaling),
    ".scheduling.affinity": st.just({}),
    ".scheduling.topologySpreadConstraints[]": st.sampled_from(
        [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 1, "topologyKey": "no label", "whenUnsatisfiable": "ScheduleAnyway"},
        ]
    ),
    ".auth": st.one_of(KEY_REF.map(lambda ref: {"apiKeySecretRef": ref}), KEY_REF.map(_keys)),
    ".podTemplatePatch": PATCHES.map(json.dumps),
    ".engine.env[].valueFrom": st.sampled_from([{"fieldRef": {"fieldPath": "status.podIP"}}, {}]),
}


# Where WORDS draws trouble: what is drawn for a spec that is to be served in the end.
SOUND_REF = st.just({"name": "there", "key": "key"})
SOUND: dict[str, SearchStrategy[Any]] = WORDS | {
    ".model.id": st.sampled_from(["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B"]),
    ".model.tokenSecretRef": SOUND_REF,
    ".model.download.caBundleConfigMapKeyRef": SOUND_REF,
    ".engine.image": st.sampled_from(["vllm/vllm-openai:v0.33.0", "vllm/vllm-openai:v0.32.0"]),
    ".engine.version": st.just("0.33.0"),
    ".engine.extraArgs": st.lists(st.sampled_from(["--enforce-eager", "--seed=1", "--max-num-seqs=4"]), max_size=2),
    ".engine.chatTemplate.configMapKeyRef": SOUND_REF,
    ".engine.maxModelLen": st.sampled_from([1024, 4096, 40960]),
    ".engine.tensorParallelSize": st.sampled_from([1, 2]),
    ".engine.pipelineParallelSize": st.just(1),
    ".engine.reasoningParser": st.just("auto"),
    ".engine.toolCallParser": st.just("auto"),
    ".engine.quantization": st.nothing(),
    ".engine.loraAdapters": st.nothing(),  # the simulated download fetches a model, and no server loads an adapter
    ".engine.maxLoraRank": st.sampled_from([8, 64]),
    ".engine.env[].valueFrom": st.just({"fieldRef": {"fieldPath": "status.podIP"}}),
    ".gpu.memory": st.just("80Gi"),
    ".replicas": st.sampled_from([1, 2]),
    ".autoscaling": st.integers(1, 2).map(_autoscaling),
    ".suspend": st.just(False),
    ".preflight": st.sampled_from(["Enforce", "Warn"]),
    ".scheduling.topologySpreadConstraints[]": st.just(
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ),
    ".scheduling.nodeSelector": st.just({"kubernetes.io/os": "linux"}),
    ".auth": st.one_of(SOUND_REF.map(lambda ref: {"apiKeySecretRef": ref}), SOUND_REF.map(_keys)),
    ".podTemplatePatch": st.sampled_from(
        [
            {},
            {"metadata": {"annotations": {"mesh": "off"}}},
            {"spec": {"containers": [{"name": "vllm", "env": [{"name": "PATCHED", "value": "1"}]}]}},
            {"spec": {"containers": [{"name": "vllm", "livenessProbe": None}], "hostIPC": False}},
        ]
    ),
}


def specs() -> SearchStrategy[Node]:
    """Specs of a Qwen3Deployment, most of which the API server admits; a few name a Qwen3Model that is not there."""
    with_model = _of(_schema(), "", WORDS)
    return st.integers(0, 9).flatmap(lambda n: with_model if n else with_model.map(_referring))


def _referring(spec: Node) -> Node:
    return {key: value for key, value in spec.items() if key != "model"} | {"modelRef": {"name": "missing"}}


def sound_specs() -> SearchStrategy[Node]:
    """Specs most of which are served in the end."""
    return _of(_schema(), "", SOUND)


@cache
def _schema() -> Node:
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    found: Node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _of(node: Node, path: str, words: Words) -> SearchStrategy[Any]:
    if path in words:
        return words[path]
    if node.get("x-kubernetes-int-or-string"):
        return QUANTITIES
    if "enum" in node:
        return st.sampled_from(node["enum"])
    made: dict[str, Any] = {
        "boolean": lambda: st.booleans(),
        "integer": lambda: st.integers(node["minimum"], min(node["maximum"], node["minimum"] + 70_000)),
        "string": lambda: _text(node),
        "array": lambda: _list(node, path, words),
        "object": lambda: _object(node, path, words),
    }
    it: SearchStrategy[Any] = made[node["type"]]()
    return it


def _text(node: Node) -> SearchStrategy[str]:
    if "pattern" in node:
        pattern: str = node["pattern"]
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= node["maxLength"])
    return NAMES


def _list(node: Node, path: str, words: Words) -> SearchStrategy[Any]:
    keys = node.get("x-kubernetes-list-map-keys")
    unique = (lambda item: str([item.get(key) for key in keys])) if keys else str
    return st.lists(_of(node["items"], f"{path}[]", words), max_size=2, unique_by=unique)


def _object(node: Node, path: str, words: Words) -> SearchStrategy[Any]:
    if "properties" not in node:
        return LABELS if node.get("additionalProperties", {}).get("type") == "string" else st.just({})
    fields = {name: _of(child, f"{path}.{name}", words) for name, child in node["properties"].items()}
    # A spec has a model or refers to one; rules between fields are not in the schema.
    needed = node.get("required", []) if path else ["model"]
    required = {name: strategy for name, strategy in fields.items() if name in needed}
    optional = {name: strategy for name, strategy in fields.items() if name not in required and not strategy.is_empty}
    # Few fields at a time: a spec with everything in it is mostly refused for one of them.
    least = 0 if path else min(len(optional), 1)
    few = st.sets(st.sampled_from(sorted(optional)), min_size=least, max_size=3) if optional else st.just(set())
    # In one order: that of a set is another one in each process.
    return few.map(sorted).flatmap(
        lambda chosen: st.fixed_dictionaries(required | {name: optional[name] for name in chosen})
    )

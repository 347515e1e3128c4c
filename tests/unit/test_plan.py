"""The plan: same input, same plan; every value with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.server import CONTAINER, length_in
from qwen3_operator.engine.lora import lora_in
from qwen3_operator.plan import NodeGpus, Weights, make_plan
from qwen3_operator.settings import Settings

SETTINGS = Settings(identity="test")
H100 = NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8)
L4 = NodeGpus("NVIDIA-L4", 23034, 8)

ENGINES = st.fixed_dictionaries(
    {},
    optional={
        "maxModelLen": st.sampled_from([512, 8192, 40960, 131072, 10_000_000]),
        "tensorParallelSize": st.sampled_from([1, 2, 3, 8]),
        "reasoningParser": st.sampled_from(["auto", "none", "qwen3", "no_such"]),
        "toolCallParser": st.sampled_from(["auto", "none", "hermes", "no_such"]),
        "image": st.sampled_from(["vllm/vllm-openai:v0.33.0", "vllm/vllm-openai:v0.8.5", "mine:latest"]),
        "version": st.sampled_from(["0.33.0", "0.10.0"]),
        "servedModelNames": st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
        "extraArgs": st.lists(st.sampled_from(["--seed=1", "--port=9", "--no-such-flag"]), max_size=2),
        "gpuMemoryUtilizationPercent": st.integers(10, 100),
    },
)
MODELS = st.sampled_from(
    ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", "Qwen/Qwen3-235B-A22B", "me/mine", "Qwen/Qwen3-Embedding-8B"]
)
NODES = st.lists(st.sampled_from([H100, L4]), max_size=3)


def plan(spec: dict[str, Any], nodes: list[NodeGpus]) -> Any:
    return make_plan(Weights("model", "Model-1"), Qwen3DeploymentSpec.model_validate(spec), SETTINGS, nodes)


@given(model=MODELS, engine=ENGINES, nodes=NODES)
def test_any_spec_has_a_plan_with_reasons(model: str, engine: dict[str, Any], nodes: list[NodeGpus]) -> None:
    spec = {"model": {"id": model}, "engine": engine}
    one = plan(spec, nodes)
    assert one == plan(spec, list(reversed(nodes))), "the order of nodes means nothing"
    assert one.command[:2] == ("vllm", "serve") and one.command[2].startswith("/models")
    assert all(isinstance(word, str) and word for word in one.command)
    fields = [value.field for value in one.values]
    assert len(fields) == len(set(fields)), "status.plan is a list by field"
    assert all(value.reason and value.value for value in one.values)
    assert {"image", "version", "maxModelLen", "reasoningParser", "toolCallParser", "servedModelNames"} <= set(fields)
    assert all(problem.reason and problem.message for problem in (*one.problems, *one.warnings))
    if one.fit.blocks:
        assert one.fit.status == "False" and not one.servable


@pytest.mark.parametrize("value", ["\u00b2", "\u00b2G", "9" * 400], ids=["digit", "unit", "large"])
def test_what_looks_like_a_number_and_is_none_is_vllms_to_refuse(value: str) -> None:
    flags = ["--kv-cache-memory-bytes", "--max-model-len", "--max-lora-rank", "--max-loras"]
    args = [word for flag in flags for word in (flag, value)]
    assert value in plan({"model": {"id": "Qwen/Qwen3-8B"}, "engine": {"extraArgs": args}}, [H100]).command
    lora_in(args)
    length_in({"spec": {"containers": [{"name": CONTAINER, "args": args}]}})


@given(model=MODELS, engine=ENGINES)
def test_what_the_spec_says_is_in_the_command_or_a_problem(model: str, engine: dict[str, Any]) -> None:
    it = plan({"model": {"id": model}, "engine": engine}, [H100])
    words = list(it.command)
    if "maxModelLen" in engine:
        assert it.max_model_len == engine["maxModelLen"] or it.problems or it.warnings
    if engine.get("tensorParallelSize", 1) > 1:
        assert words[words.index("--tensor-parallel-size") + 1] == str(engine["tensorParallelSize"])
    if engine.get("servedModelNames"):
        at = words.index("--served-model-name")
        assert words[at + 1 : at + 1 + len(engine["servedModelNames"])] == engine["servedModelNames"]
    if "--port=9" in engine.get("extraArgs", []) or "--no-such-flag" in engine.get("extraArgs", []):
        assert it.problems, "a flag that is ours, or that vLLM does not know"


@pytest.mark.parametrize(
    ("spec", "field", "source"),
    [
        ({"engine": {"maxModelLen": 4096}}, "maxModelLen", "spec"),
        ({"engine": {"image": "mine:1", "version": "0.33.0"}}, "version", "spec"),
        ({}, "image", "settings"),
        ({"engine": {"image": "x/vllm:v0.33.0"}}, "image", "spec"),
        ({"engine": {"servedModelNames": ["x"]}}, "servedModelNames", "spec"),
        ({}, "servedModelNames", "operator"),
    ],
)
def test_who_decided(spec: dict[str, Any], field: str, source: str) -> None:
    it = plan({"model": {"id": "Qwen/Qwen3-8B"}} | spec, [H100])
    assert {v.field: v.source for v in it.values}[field] == source


def test_a_model_that_does_not_fit_is_not_made_unless_asked() -> None:
    spec: dict[str, Any] = {"model": {"id": "Qwen/Qwen3-235B-A22B"}}
    assert plan(spec, [L4]).fit.blocks
    assert not plan(spec | {"preflight": "Warn"}, [L4]).fit.blocks
    assert plan(spec | {"preflight": "Off"}, [L4]).fit.status == "Unknown"
    assert plan(spec, []).fit.status == "Unknown", "where nothing is known, nothing is forbidden"


def test_nodes_that_come_and_go_do_not_change_a_chosen_length() -> None:
    spec = Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}})
    weights = Weights("model", "Model-1")
    chosen = make_plan(weights, spec, SETTINGS, [H100]).max_model_len
    assert chosen != make_plan(weights, spec, SETTINGS, [H100, L4]).max_model_len
    for nodes in ([], [L4], [H100, L4]):
        assert make_plan(weights, spec, SETTINGS, nodes, chosen_length=chosen).max_model_len == chosen


def test_the_status_of_a_value_is_bounded() -> None:
    it = plan({"model": {"id": "Qwen/Qwen3-8B"}, "engine": {"servedModelNames": ["x" * 256] * 1}}, [H100])
    for value in it.values:
        assert set(value.as_status()) == {"field", "value", "reason"}
        assert all(len(text) <= 1024 for text in value.as_status().values())

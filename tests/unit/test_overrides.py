"""spec.engine.hfOverrides, address and task: what goes over what the operator chose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.plan.overrides import merged, read_overrides
from qwen3_operator.settings import Settings


def plan(model: str = "Qwen/Qwen3-8B", **engine: Any) -> Plan:
    spec = Qwen3DeploymentSpec.model_validate({"model": {"id": model}, "engine": engine})
    return make_plan(Weights("claim", "path"), spec, Settings())


def overrides(it: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(it.command[it.command.index("--hf-overrides") + 1])
    return found


ROPE = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32768}


def test_the_users_rope_is_taken_whole_and_any_length_with_it() -> None:
    it = plan(maxModelLen=262144, hfOverrides=json.dumps({"rope_parameters": ROPE, "max_position_embeddings": 262144}))
    assert not it.problems and it.max_model_len == 262144
    assert overrides(it) == {"rope_parameters": ROPE, "max_position_embeddings": 262144}
    assert "spec.engine.hfOverrides" in next(v.reason for v in it.values if v.field == "maxModelLen")


def test_an_override_of_something_else_leaves_the_operators() -> None:
    it = plan(maxModelLen=131072, hfOverrides='{"num_experts_per_tok": 4}')
    assert overrides(it)["num_experts_per_tok"] == 4
    assert overrides(it)["rope_parameters"]["rope_type"] == "yarn"
    assert plan(maxModelLen=262144, hfOverrides='{"num_experts_per_tok": 4}').problems


def test_what_makes_a_reranker_stays_beneath() -> None:
    found = overrides(plan("Qwen/Qwen3-Reranker-8B", hfOverrides='{"classifier_from_token": ["a", "b"]}'))
    assert found["classifier_from_token"] == ["a", "b"]
    assert found["architectures"] == ["Qwen3ForSequenceClassification"]


def test_maps_are_merged_map_by_map() -> None:
    ours = {"text_config": {"rope_parameters": {"a": 1, "b": 2}, "max_position_embeddings": 8}}
    own = {"text_config": {"rope_parameters": {"a": 3}}}
    assert merged(ours, own) == {"text_config": {"rope_parameters": {"a": 3}, "max_position_embeddings": 8}}


@pytest.mark.parametrize(
    "text", ["{", "[1]", "1", '{"a":' * 9 + "1" + "}" * 9, "[" * 5000, '{"a": NaN}', '{"a": "\\ud800"}']
)
def test_what_is_no_json_object_is_refused_at_its_field(text: str) -> None:
    found, (problem,) = read_overrides(text)
    assert found == {} and problem.field == "spec.engine.hfOverrides"


def test_the_environments_way_is_a_way_too() -> None:
    long = {"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}
    assert not plan(maxModelLen=500000, env=[long]).problems
    assert plan(maxModelLen=500000, env=[long | {"value": "0"}]).problems


@pytest.mark.parametrize(("task", "flag"), [("embed", True), ("rerank", True), ("generate", False)])
def test_a_task_before_the_download(task: str, flag: bool) -> None:
    it = plan("acme/new", task=task)
    assert ("--runner" in it.command) == flag
    assert next(v.source for v in it.values if v.field == "task") == "spec"


def test_the_address_of_one_server() -> None:
    it = plan(host="fd00::7")
    assert it.command[it.command.index("--host") + 1] == "fd00::7"

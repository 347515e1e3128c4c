"""What servers are to measure, for what the result holds, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.wrappers import Q3d

from qwen3_in_engine.capacity.contract import Benchmark, Result, Step
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.capacity import MOST_RESULTS, capacity_config_map, results_in, with_result
from qwen3_operator.desired.made_from import inputs_of
from qwen3_operator.engine.capacity import before, loss, result_in_log, result_of, slowest
from qwen3_operator.plan import NodeGpus, Plan, Weights, make_plan
from qwen3_operator.plan.benchmark import MARGIN_TOKENS, fitting
from qwen3_operator.settings import Settings
from qwen3_operator.status.capacity import CapacityView

SETTINGS = Settings(engine_image="vllm/vllm-openai:v0.33.0", identity="test")
NODES = (NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8),)
WEIGHTS = Weights("claim", "path", commit="c0ffee")


def plan(weights: Weights = WEIGHTS, **spec: Any) -> Plan:
    reported = Q3d().set(**({"benchmark": {}} | spec)).spec
    return make_plan(weights, Qwen3DeploymentSpec.model_validate(reported), SETTINGS, NODES)


def reported(made: Plan) -> Benchmark:
    return Benchmark.from_text(made.benchmark)


def result(key: str = "a", gpu: str = "L4", steps: Any = ((1, 100, 50), (2, 200, 90)), **more: Any) -> Result:
    given = {"at": "2026-11-28T06:00:00Z", "input_tokens": 1024, "output_tokens": 256, "target_milliseconds": 1000}
    made: dict[str, Any] = {"key": key, "gpu": gpu, "seconds": 60, "ended_by": "target", **given, **more}
    return Result(**made, steps=tuple(Step(*step) for step in steps))


def test_what_a_server_gets() -> None:
    made = plan(engine={"maxNumSeqs": 96})
    it = reported(made)
    assert (it.input_tokens, it.output_tokens, it.ttft_milliseconds, it.max_seconds) == (1024, 256, 2000, 180)
    assert (it.model, it.name, it.most) == (made.command[2], "Qwen3-0.6B", 96)
    assert not made.warnings and "benchmark" in [value.field for value in made.values]


def test_without_it_nothing_is_decided_otherwise() -> None:
    without = Qwen3DeploymentSpec.model_validate(Q3d().spec)
    made = plan(benchmark=None)
    assert made.benchmark == "" and "benchmark" not in [value.field for value in made.values]
    committed = inputs_of(without, WEIGHTS, ""), inputs_of(without, replace(WEIGHTS, commit=""), "")
    assert committed[0] == committed[1], "an upgrade of the operator, which knows the commit now, restarts nothing"
    asked = Qwen3DeploymentSpec.model_validate(Q3d().set(benchmark={"maxSeconds": 60}).spec)
    assert inputs_of(asked, WEIGHTS, "") != committed[0]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"benchmark": {"maxSeconds": 600}}, True),
        ({"replicas": 3}, True),
        ({"benchmark": {"inputTokens": 512}}, False),
        ({"benchmark": {"ttftP95Milliseconds": 900}}, False),
        ({"engine": {"image": "vllm/vllm-openai:v0.32.0"}}, False),
        ({"engine": {"extraArgs": ["--enforce-eager"]}}, False),
        ({"engine": {"env": [{"name": "VLLM_ATTENTION_BACKEND", "value": "FLASHINFER"}]}}, False),
        ({"podTemplatePatch": "spec: {hostNetwork: true}"}, False),
    ],
)
def test_the_key_is_of_what_makes_a_server_fast_or_slow(change: dict[str, Any], same: bool) -> None:
    assert (reported(plan(**change)).key == reported(plan()).key) is same


def test_the_key_is_of_the_commit_too() -> None:
    assert reported(plan(replace(WEIGHTS, commit="other"))).key != reported(plan()).key


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"id": "Qwen/Qwen3-Embedding-0.6B"}},
        {"engine": {"image": "vllm/vllm-openai:v0.11.0"}},
    ],
)
def test_what_cannot_be_measured_is_served_all_the_same(spec: dict[str, Any]) -> None:
    made = plan(**spec)
    assert made.benchmark == "" and made.servable
    assert Reason.BENCHMARK_WITHOUT_EFFECT in [warning.reason for warning in made.warnings]


@given(st.integers(1, 1_048_576), st.integers(1, 131_072), st.integers(64, 1_048_576))
def test_a_request_fits_the_length(prompt: int, answer: int, length: int) -> None:
    (first, second), _ = fitting(prompt, answer, length)
    assert first >= 1 and second >= 1 and first + second <= length - MARGIN_TOKENS + 1
    assert (first, second) == (prompt, answer) or prompt + answer > length - MARGIN_TOKENS


def test_results_come_back_as_they_were_kept_and_are_no_more_than_so_many() -> None:
    results: list[Result] = []
    for number in range(MOST_RESULTS + 5):
        results = with_result(results, result(f"{number:x}"))
    results = with_result(results, result("14", error="words", ended_by="failure", steps=()))
    made = capacity_config_map("ns", "chat", "u", results)
    assert results_in(made) == results and len(results) == MOST_RESULTS
    steps = [(10**9, 10**9, 10**9)] * 24
    most = [result("f" * 64, f"{'G' * 60}{n}", steps, error="x" * 300) for n in range(MOST_RESULTS)]
    made = capacity_config_map("ns", "chat", "u", most)
    assert len(json.dumps(made)) < 64 * 1024 and results_in(made) == most, "whatever a pod says, it is bounded"


@pytest.mark.parametrize(
    "data", [None, {}, {"capacity.json": ""}, {"capacity.json": "[]"}, {"capacity.json": '{"results": 3}'}]
)
def test_a_config_map_that_makes_no_sense_has_no_results(data: Any) -> None:
    assert results_in({"data": data}) == [] and results_in(None) == []


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["key", "steps", "gpu", "at", "x"]), inner),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["key", "gpu", "at", "steps", "seconds", "endedBy", "error", "inputTokens"]))
def test_whatever_stands_in_a_field_is_believed_or_not(value: Any, name: str) -> None:
    found = result_of(result().as_json() | {name: value})
    assert found is None or result_of(json.loads(json.dumps(found.as_json()))) == found
    result_of(value)


def test_the_last_line_counts() -> None:
    lines = [f"(APIServer pid=1) qwen3: capacity {json.dumps(result(key).as_json())}" for key in "ab"]
    assert result_in_log([*lines, "qwen3: capacity {", "qwen3: capacity []", "x"]) == result("b")
    assert result_in_log(["nothing"]) is None


def test_the_slowest_gpu_counts_and_one_that_failed_does_not() -> None:
    slow = result(gpu="T4", steps=((1, 50, 900),))
    assert slowest([result(), slow, result(gpu="X", steps=(), error="x")]) == slow
    assert slowest([]) is None


def test_compared_is_the_same_gpu_and_the_same_request() -> None:
    now, was = result("b"), result("a")
    assert before([was, result("c", "T4"), result("d", input_tokens=9), result("e", steps=()), now], now) == was
    assert before([now, was], now) is None, "what came later is no before: it was gone back from"


@pytest.mark.parametrize(
    ("steps", "slower"),
    [
        (((1, 100, 50), (2, 180, 90)), None),
        (((1, 100, 50), (2, 179, 90)), (200, 179)),
        (((1, 89, 50),), (100, 89)),
        (((3, 1, 50),), None),  # nothing in common
        (((1, 100, 50), (2, 200, 90), (4, 1, 9)), None),  # the earlier did not bear so many
    ],
)
def test_slower_by_more_than_a_tenth_with_as_many_requests(steps: Any, slower: Any) -> None:
    found = loss(result(steps=((1, 100, 50), (2, 200, 90), (4, 300, 5000))), result("b", steps=steps))
    assert (None if found is None else tuple(step.tokens_per_second for step in found)) == slower


def test_the_target_is_of_these_servers_or_of_those_before_and_never_nothing() -> None:
    view = CapacityView("b", "image", [result("a")])
    assert view.target == 2 and view.current is None
    assert CapacityView("a", "image", [result("a", steps=((1, 1, 9999),))]).target == 1
    assert CapacityView("a", "image", [result("a", steps=())]).target is None

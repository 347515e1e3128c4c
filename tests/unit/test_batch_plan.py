"""What a Qwen3Batch resolves to: engine arguments, sampling by mode, the fingerprint of its answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_in_engine.server.contract import Config as ServerConfig
from qwen3_in_engine.verify.wanted import Verify
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.engine.batch_command import engine_command
from qwen3_operator.plan import NodeGpus, Weights, make_plan
from qwen3_operator.plan.batch import BatchPlan, as_server, make_batch_plan
from qwen3_operator.settings import Settings

NODES = (NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8),)
SETTINGS = Settings(engine_image="vllm/vllm-openai:v0.33.0", identity="test")


def batch_spec(**fields: Any) -> Qwen3BatchSpec:
    """A small spec with other fields."""
    base: dict[str, Any] = {
        "model": {"id": "Qwen/Qwen3-8B"},
        "input": {"prompts": ["hello"]},
        "output": {"claim": {"name": "answers", "path": "a/out.jsonl"}},
    }
    merged = {key: value for key, value in (base | fields).items() if value is not None}
    return Qwen3BatchSpec.model_validate(merged)


def plan(spec: Qwen3BatchSpec, deployment: Qwen3DeploymentSpec | None = None, template: str = "") -> BatchPlan:
    """The plan of a spec."""
    server = as_server(spec, deployment)
    return make_batch_plan("team", "nightly", spec, server, Weights("claim", "folder"), SETTINGS, NODES, template)


def test_the_engine_is_started_as_a_server_of_the_same_words() -> None:
    spec = batch_spec(
        engine={"maxModelLen": 4096, "tensorParallelSize": 2, "extraArgs": ["--enforce-eager", "--swap-space=8"]}
    )
    words = list(plan(spec).runner.engine)
    assert words[:3] == ["vllm", "serve", "/models/folder"]
    for flag, value in (
        ("--max-model-len", "4096"),
        ("--tensor-parallel-size", "2"),
        ("--served-model-name", "Qwen3-8B"),
        ("--reasoning-parser", "qwen3"),
        ("--tool-call-parser", "hermes"),
    ):
        assert words[words.index(flag) + 1] == value
    assert "--enforce-eager" in words
    for flag in ("--host", "--port", "--shutdown-timeout", "--disable-access-log-for-endpoints", "--middleware"):
        assert flag not in words


def test_flags_with_several_values_go_with_them() -> None:
    serve = ["vllm", "serve", "/m", "--port", "1", "--lora-modules", "x=1", "y=2", "--middleware", "a", "b", "--x"]
    assert engine_command(serve) == ["vllm", "serve", "/m", "--lora-modules", "x=1", "y=2", "--x"]


def test_a_vllm_without_a_socket_is_too_old() -> None:
    (problem,) = plan(batch_spec(engine={"image": "vllm/vllm-openai:v0.9.2"})).engine.problems
    assert (problem.reason, "has no --uds" in problem.message) == ("UnsupportedByEngine", True)


def test_sampling_is_the_authors_advice_for_each_mode() -> None:
    runner = plan(batch_spec()).runner
    assert runner.sampling_thinking == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    assert runner.sampling_plain == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0}
    assert (runner.thinks, runner.thinks_by_default) == (None, True)


def test_what_the_spec_says_holds_for_both_modes() -> None:
    sampling = {"thinking": "Disabled", "temperature": "0", "maxTokens": 64, "stopTokenIds": [151643], "seed": 7}
    runner = plan(batch_spec(sampling=sampling)).runner
    assert (runner.thinks, runner.seed) == (False, 7)
    for mode, top_p in ((runner.sampling_thinking, 0.95), (runner.sampling_plain, 0.8)):
        assert mode["temperature"] == 0.0
        assert (mode["max_tokens"], mode["stop_token_ids"], mode["top_p"]) == (64, [151643], top_p)


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    spec = batch_spec(model={"id": "Qwen/Qwen3-4B-Instruct-2507"}, sampling={"thinking": "Enabled"})
    (problem,) = plan(spec).engine.problems
    assert (problem.reason, problem.field) == ("ThinkingNotSwitchable", "spec.sampling.thinking")
    assert plan(batch_spec(model={"id": "Qwen/Qwen3-4B-Instruct-2507"})).runner.thinks is None


def test_an_embedding_model_is_asked_for_embeddings() -> None:
    found = plan(batch_spec(model={"id": "Qwen/Qwen3-Embedding-0.6B"}))
    assert found.engine.problems == ()
    assert found.runner.task == "embed"


def test_lines_may_name_what_is_served_or_the_checkpoint() -> None:
    runner = plan(batch_spec()).runner
    assert (runner.models, runner.any_model) == (("Qwen3-8B", "Qwen/Qwen3-8B"), False)
    assert plan(batch_spec(input={"prompts": ["x"], "model": "Any"})).runner.any_model


def test_servers_that_run_are_asked_without_a_gpu() -> None:
    deployment = Qwen3DeploymentSpec.model_validate(
        {
            "model": {"id": "Qwen/Qwen3-8B"},
            "engine": {"servedModelNames": ["chat"]},
            "service": {"port": 80},
            "auth": {"apiKeySecretRef": {"name": "a", "key": "b"}},
            "scheduling": {"nodeSelector": {"gpu": "yes"}},
        }
    )
    spec = batch_spec(model=None, deploymentRef={"name": "chat"}, target="Running")
    found = plan(spec, deployment)
    assert (found.runner.url, found.runner.engine) == ("http://chat.team.svc:80", ())
    assert (found.runner.concurrency, found.runner.models[0]) == (32, "chat")
    assert found.runner.sampling_thinking == {}, "the servers have their own"
    assert found.engine.image == SETTINGS.downloader_image
    assert not found.engine.fit.blocks
    assert as_server(spec, deployment).auth is not None
    assert as_server(spec, deployment).scheduling.node_selector == {}


def test_servers_of_many_teams_are_asked_by_the_batchs_own_key() -> None:
    said = {"model": {"id": "Qwen/Qwen3-8B"}, "auth": {"keys": {"secretRef": {"name": "teams"}}}}
    deployment = Qwen3DeploymentSpec.model_validate(said)
    asks = {"model": None, "deploymentRef": {"name": "chat"}, "target": "Running"}
    assert [p.reason for p in plan(batch_spec(**asks), deployment).engine.problems] == ["KeyMissing"]
    spec = batch_spec(**asks, apiKeySecretRef={"name": "teams", "key": "batches"})
    assert not plan(spec, deployment).engine.problems
    auth = as_server(spec, deployment).auth
    assert auth is not None and auth.keys is None and auth.api_key_secret_ref is not None
    assert auth.api_key_secret_ref.key == "batches"
    own = batch_spec(model=None, deploymentRef={"name": "chat"})
    assert as_server(own, deployment).auth is None and not plan(own, deployment).engine.problems


def test_a_deployment_lends_its_model_and_engine() -> None:
    deployment = Qwen3DeploymentSpec.model_validate(
        {
            "model": {"id": "Qwen/Qwen3-4B", "revision": "v1"},
            "engine": {"maxModelLen": 2048, "servedModelNames": ["chat"], "thinking": "Disabled"},
            "gpu": {"resourceName": "amd.com/gpu"},
            "auth": {"apiKeySecretRef": {"name": "a", "key": "b"}},
            "scheduling": {"nodeSelector": {"a": "b"}},
            "podTemplatePatch": "spec: {hostIPC: true}",
        }
    )
    server = as_server(batch_spec(model=None, deploymentRef={"name": "chat"}), deployment)
    assert server.model is not None
    assert (server.model.id, server.engine.max_model_len, server.gpu.resource_name) == (
        "Qwen/Qwen3-4B",
        2048,
        "amd.com/gpu",
    )
    assert (server.scheduling.node_selector, server.pod_template_patch) == ({"a": "b"}, "spec: {hostIPC: true}")
    assert server.auth is None and server.engine.thinking == "Default"
    own = batch_spec(model=None, deploymentRef={"name": "chat"}, scheduling={"nodeSelector": {"c": "d"}})
    assert as_server(own, deployment).scheduling.node_selector == {"c": "d"}


SAME = [
    {"engine": {"maxNumSeqs": 8}},
    {"parallelism": 2},
    {"output": {"claim": {"name": "other", "path": "elsewhere"}}},
    {"backoffLimit": 1},
    {"stallSeconds": 900},
    {"verify": {"mode": "Off"}},
    {"verify": {"prompts": [{"prompt": "2+2?", "contains": ["4"]}]}},
]
OTHER = [
    {"model": {"id": "Qwen/Qwen3-4B"}},
    {"model": {"id": "Qwen/Qwen3-8B", "revision": "v2"}},
    {"sampling": {"temperature": "0.1"}},
    {"sampling": {"thinking": "Disabled"}},
    {"completions": 2},
    {"engine": {"dtype": "float16"}},
    {"engine": {"quantization": "fp8"}},
    {"engine": {"maxModelLen": 2048}},
    {"engine": {"extraArgs": ["--enforce-eager"]}},
    {"input": {"prompts": ["hello"], "model": "Any"}},
    {"input": {"prompts": ["hello"], "applyChatTemplate": False}},
]


@pytest.mark.parametrize("change", SAME, ids=json.dumps)
def test_answers_go_on_after_a_change_that_does_not_change_them(change: dict[str, Any]) -> None:
    assert plan(batch_spec(**change)).runner.fingerprint == plan(batch_spec()).runner.fingerprint


@pytest.mark.parametrize("change", OTHER, ids=json.dumps)
def test_answers_of_other_settings_have_another_fingerprint(change: dict[str, Any]) -> None:
    assert plan(batch_spec(**change)).runner.fingerprint != plan(batch_spec()).runner.fingerprint


def test_answers_of_another_commit_have_another_fingerprint() -> None:
    spec = batch_spec()
    found = {
        make_batch_plan(
            "team", "nightly", spec, as_server(spec, None), Weights("c", "f"), SETTINGS, NODES, commit=commit
        ).runner.fingerprint
        for commit in ("", "a", "b")
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        ({}, "9d1da2a3a422299d"),
        ({"sampling": {"thinking": "Disabled", "seed": 7}}, "d30f0f8a06158fac"),
        ({"model": {"id": "Qwen/Qwen3-Embedding-0.6B"}}, "3ce89cb84c8e0517"),
    ],
)
def test_what_an_earlier_release_began_goes_on(spec: dict[str, Any], fingerprint: str) -> None:
    """Parts of another fingerprint are refused: a change here ends every batch that was not finished."""
    assert plan(batch_spec(**spec)).runner.fingerprint == fingerprint


PROMPT = {"prompt": "2+2?", "contains": ["4"]}
CHAT = Verify(
    names=("Qwen3-8B",),
    max_model_len=40960,
    thinking="hybrid",
    reasoning_parser="qwen3",
    tool_call_parser="hermes",
    well_known=True,
)


@pytest.mark.parametrize(
    ("spec", "verify"),
    [
        ({}, CHAT),
        ({"verify": {"mode": "Off"}}, None),
        ({"verify": {"prompts": [PROMPT]}}, replace(CHAT, prompts=(PROMPT,))),
        ({"engine": {"image": "vllm/vllm-openai:v0.15.1"}}, None),
        ({"engine": {"maxModelLen": 4096}}, replace(CHAT, max_model_len=4096)),
        ({"podTemplatePatch": "spec: {hostIPC: true}"}, replace(CHAT, max_model_len=None)),
        (
            {"model": {"id": "Qwen/Qwen3-Embedding-0.6B"}},
            Verify(
                task="embed", names=("Qwen3-Embedding-0.6B",), max_model_len=32768, thinking="none", well_known=True
            ),
        ),
    ],
)
def test_its_own_engine_is_asked_what_a_server_is(spec: dict[str, Any], verify: Verify | None) -> None:
    made = plan(batch_spec(**spec)).runner
    assert made.verify == verify
    server = as_server(batch_spec(**spec), None)
    config = make_plan(Weights("claim", "folder"), server, SETTINGS, NODES).server
    assert verify == (ServerConfig.from_text(config).verify if config else None)


def test_the_deployment_says_what_is_asked_where_the_batch_does_not() -> None:
    off = Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}, "verify": {"mode": "Off"}})
    asks = {"model": None, "deploymentRef": {"name": "chat"}}
    assert plan(batch_spec(**asks), off).runner.verify is None
    found = plan(batch_spec(**asks, verify={"prompts": [PROMPT]}), off).runner.verify
    assert found == replace(CHAT, prompts=(PROMPT,))
    on = Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}})
    assert plan(batch_spec(**asks), on).runner.verify == CHAT
    assert plan(batch_spec(**asks, target="Running"), on).runner.verify is None, "its servers have been asked"


def test_the_configuration_survives_its_way_to_the_pod() -> None:
    runner = plan(batch_spec(sampling={"stopTokenIds": [1]}, verify={"prompts": [PROMPT]})).runner
    assert runner.verify is not None
    assert Config.from_json(json.loads(json.dumps(runner.as_json() | {"of_a_newer_operator": 1}))) == runner

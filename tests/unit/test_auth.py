"""spec.auth.keys: what of a spec lets a server ask for keys, and what is refused because it would not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qwen3_in_engine.server.contract import EXIT_KEYS_UNUSABLE, KEYS_UNUSABLE, KEYS_VARIABLE, LIMITS_VARIABLE
from qwen3_in_engine.server.limits import Limit
from qwen3_operator.api.deployment import AuthLimits, Qwen3DeploymentSpec
from qwen3_operator.commands.render import server_manifests
from qwen3_operator.desired.keys import KEYS_DIR, LIMITS_DIR, LIMITS_FILE, limits_config_map
from qwen3_operator.desired.made_from import inputs_of
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.server import server_template
from qwen3_operator.engine.diagnosis import diagnose_pod
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.settings import Settings

SETTINGS = Settings(engine_image="vllm/vllm-openai:v0.33.0")
WEIGHTS = Weights("claim", "path")
KEYS = {"keys": {"secretRef": {"name": "teams"}}}
LIMITED = KEYS | {"limits": {"default": {"maxConcurrent": 4}}}


def spec(auth: dict[str, Any] | None = None, patch: str | None = None, **engine: Any) -> Qwen3DeploymentSpec:
    said = {"model": {"id": "Qwen/Qwen3-8B"}, "engine": engine, "auth": auth or KEYS, "podTemplatePatch": patch}
    return Qwen3DeploymentSpec.model_validate(said)


def plan(it: Qwen3DeploymentSpec) -> Plan:
    return make_plan(WEIGHTS, it, SETTINGS)


def template(it: Qwen3DeploymentSpec) -> dict[str, Any]:
    return server_template("chat", it, plan(it), SETTINGS)


def test_the_secret_is_a_folder_of_the_pod_and_not_optional() -> None:
    pod = template(spec())["spec"]
    (container,) = pod["containers"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["keys"] == {"name": "keys", "secret": {"secretName": "teams"}}
    assert volumes["limits"] == {"name": "limits", "configMap": {"name": "chat-limits"}}
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    assert mounts["keys"] == {"name": "keys", "mountPath": KEYS_DIR, "readOnly": True}
    assert "subPath" not in mounts["limits"], "the kubelet would never change it"
    variables = {v["name"]: v.get("value") for v in container["env"]}
    assert (variables[KEYS_VARIABLE], variables[LIMITS_VARIABLE]) == (KEYS_DIR, f"{LIMITS_DIR}/{LIMITS_FILE}")
    assert "VLLM_API_KEY" not in variables


def test_a_key_in_the_wrong_place_is_refused_and_shown_nowhere() -> None:
    made = plan(spec(extraArgs=["--seed", "3", "--api-key", "s3cret-of-clients"]))
    assert [str(problem.reason) for problem in made.problems] == ["OwnedArgument"]
    assert "s3cret" not in str([made.engine_status(), made.values, made.problems, made.warnings, made.fit])
    assert "--seed" in made.command


def test_the_middleware_reads_the_limits_as_they_are_written() -> None:
    said = {"default": {"requestsPerMinute": 6}, "teams": [{"name": "a", "tokensPerMinute": 60}, {"name": "b"}]}
    made = limits_config_map("ns", "chat", "uid", AuthLimits.model_validate(said))
    written = json.loads(made["data"][LIMITS_FILE])
    assert Limit.of(written["default"]) == Limit(requests_per_minute=6)
    assert {name: Limit.of(it) for name, it in written["teams"].items()} == {
        "a": Limit(tokens_per_minute=60),
        "b": Limit(),
    }
    assert json.loads(limits_config_map("ns", "chat", "uid", None)["data"][LIMITS_FILE]) == {"default": {}, "teams": {}}


def test_limits_make_no_new_servers_and_keys_do() -> None:
    def inputs(it: Qwen3DeploymentSpec) -> str:
        return inputs_of(it, WEIGHTS, "")

    assert inputs(spec()) == inputs(spec(LIMITED))
    assert template(spec()) == template(spec(LIMITED))
    assert inputs(spec()) != inputs(spec({"keys": {"secretRef": {"name": "others"}}}))


def test_the_limits_are_rendered() -> None:
    it = spec(LIMITED)
    made = [o for o in server_manifests("ns", "chat", it, plan(it), SETTINGS) if o["metadata"]["name"] == "chat-limits"]
    assert [json.loads(o["data"][LIMITS_FILE])["default"] for o in made] == [{"maxConcurrent": 4}]


def variable(name: str, value: str = "1") -> dict[str, Any]:
    return {"env": [{"name": name, "value": value}]}


AROUND: dict[str, tuple[dict[str, Any], str]] = {
    "an older vLLM": ({"image": "vllm/vllm-openai:v0.15.0"}, "UnsupportedByEngine"),
    "vLLM's own key": (variable("VLLM_API_KEY", "x"), "KeysNotAsked"),
    "another front end": (variable("VLLM_USE_RUST_FRONTEND"), "KeysNotAsked"),
    "no keys": (variable(KEYS_VARIABLE, ""), "KeysNotAsked"),
    "another configuration": (variable("QWEN3_SERVER", "{}"), "KeysNotAsked"),
    "gRPC": ({"extraArgs": ["--grpc"]}, "KeysNotAsked"),
}


@pytest.mark.parametrize("what", AROUND)
def test_what_would_not_ask_for_keys_is_refused(what: str) -> None:
    engine, reason = AROUND[what]
    assert reason in [p.reason for p in plan(spec(**engine)).problems]
    other = spec({"apiKeySecretRef": {"name": "a", "key": "b"}}, **engine)
    assert reason not in [p.reason for p in plan(other).problems]


def test_what_is_switched_off_is_not_in_the_way() -> None:
    assert not plan(spec(**variable("VLLM_USE_RUST_FRONTEND", "0"))).problems


def test_limits_of_several_processes_are_said_to_be_theirs() -> None:
    several: dict[str, Any] = {"extraArgs": ["--api-server-count", "4"]}
    assert [w.reason for w in plan(spec(LIMITED, **several)).warnings if w.field == "spec.auth.limits"] == [
        "LimitsOfEachProcess"
    ]
    for it in (spec(KEYS, **several), spec(LIMITED, extraArgs=["--api-server-count=1"])):
        assert "LimitsOfEachProcess" not in [w.reason for w in plan(it).warnings]


PATCHES = {
    "arguments": "spec: {containers: [{name: vllm, args: [/models/x, --port, '8000']}]}",
    "command": "spec: {containers: [{name: vllm, command: [vllm, serve]}]}",
    "configuration": "spec: {containers: [{name: vllm, env: [{name: QWEN3_KEYS, value: ''}]}]}",
    "a variable less": "spec: {containers: [{name: vllm, env: [{name: QWEN3_KEYS, $patch: delete}]}]}",
    "another Secret": "spec: {volumes: [{name: keys, secret: {secretName: mine}}]}",
    "another middleware": "spec: {volumes: [{name: in-engine, configMap: {name: mine}}]}",
    "another mount": "spec: {containers: [{name: vllm, volumeMounts: [{mountPath: /etc/qwen3/keys, name: tmp}]}]}",
    "no container": "spec: {containers: [{name: vllm, $patch: delete}, {name: other, image: x}]}",
}


@pytest.mark.parametrize("what", PATCHES)
def test_a_patch_that_takes_away_what_asks_for_keys_is_refused(what: str) -> None:
    with pytest.raises(PatchError, match="keys"):
        template(spec(patch=PATCHES[what]))


def test_other_patches_are_made() -> None:
    more = "spec: {containers: [{name: vllm, env: [{name: A, value: b}]}, {name: side, image: x}], hostIPC: true}"
    assert template(spec(patch=more))["spec"]["hostIPC"] is True


def test_why_a_server_lets_nobody_in_is_a_reason() -> None:
    ended = {"exitCode": EXIT_KEYS_UNUSABLE, "message": f"{KEYS_UNUSABLE}: the Secret of auth.keys has no key"}
    state = {"name": "vllm", "state": {"terminated": ended}, "ready": False}
    cause = diagnose_pod({"status": {"containerStatuses": [state]}})
    assert cause is not None and cause.reason == "KeysUnusable"
    assert cause.message.endswith("lets nobody in: the Secret of auth.keys has no key")
    assert "Secret" in cause.remedy

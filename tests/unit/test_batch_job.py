"""The Job and the ConfigMap of a Qwen3Batch, against a file that a person has read (UPDATE_GOLDEN=1 writes it anew)."""

from __future__ import annotations

import ast
import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_camel
from tests.unit.test_batch_plan import SETTINGS, batch_spec, plan

from qwen3_in_engine.batch_runner.contract import PERMANENT
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.commands.output import to_yaml
from qwen3_operator.desired.batch import batch_job, job_name
from qwen3_operator.desired.batch_config import PACKAGE, batch_config_map, runner_items
from qwen3_operator.desired.batch_delivery import delivery_job
from qwen3_operator.desired.batch_record import OF_SHARDS, inputs_of
from qwen3_operator.desired.modules import SHARED
from qwen3_operator.plan.batch import as_server

GOLDEN = Path(__file__).with_name("batch_job.yaml")
META = {"namespace": "team", "name": "nightly", "uid": "u", "labels": {"kueue.x-k8s.io/queue-name": "q", "x": "y"}}


def job(spec: Qwen3BatchSpec) -> dict[str, Any]:
    """The Job as it is made."""
    return batch_job(META, spec, as_server(spec, None), plan(spec), "nightly-batch-0", SETTINGS)


def pod(spec: Qwen3BatchSpec) -> dict[str, Any]:
    """Its PodSpec."""
    found: dict[str, Any] = job(spec)["spec"]["template"]["spec"]
    return found


def test_the_job() -> None:
    spec = batch_spec(
        input={"claim": {"name": "prompts", "path": "in.jsonl"}},
        completions=4,
        parallelism=2,
        suspend=True,
        activeDeadlineSeconds=3600,
        engine={"tensorParallelSize": 2, "env": [{"name": "A", "value": "1"}]},
    )
    text = to_yaml(job(spec))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


FROZEN, OURS = {"claimName": "prompts", "readOnly": True}, {"claimName": "prompts"}


@pytest.mark.parametrize(
    ("output", "model", "others", "volume"),
    [
        ("answers", "weights", False, FROZEN),
        ("answers", "prompts", True, FROZEN),  # the same claim of others has both
        ("prompts", "weights", False, OURS),  # it is written to
        ("answers", "prompts", False, OURS),  # the download's own claim
    ],
)
def test_claims_of_others_are_not_changed(output: str, model: str, others: bool, volume: dict[str, Any]) -> None:
    """Read-only as volumes: or the kubelet would take their files into the group of the pods."""
    spec = batch_spec(
        input={"claim": {"name": "prompts", "path": "in.jsonl"}}, output={"claim": {"name": output, "path": "out"}}
    )
    made = plan(spec)
    engine = replace(made.engine, claim=model, claim_is_others=others)
    it = batch_job(META, spec, as_server(spec, None), replace(made, engine=engine), "nightly-batch-0", SETTINGS)
    volumes = {v["name"]: v for v in it["spec"]["template"]["spec"]["volumes"]}
    assert volumes["input"]["persistentVolumeClaim"] == volume
    assert volumes["output"]["persistentVolumeClaim"] == {"claimName": output}
    frozen = {"readOnly": True} if others else {}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": model} | frozen


def test_exit_codes_that_nothing_mends_fail_the_job() -> None:
    rules = job(batch_spec())["spec"]["podFailurePolicy"]["rules"]
    assert rules[-1]["onExitCodes"]["values"] == list(PERMANENT)


@pytest.mark.parametrize(
    ("source", "volume"),
    [
        (
            {"prompts": ["a"]},
            {"configMap": {"name": "nightly-batch-0", "items": [{"key": "prompts.jsonl", "path": "input"}]}},
        ),
        (
            {"configMapKeyRef": {"name": "m", "key": "k"}},
            {"configMap": {"name": "m", "items": [{"key": "k", "path": "input"}]}},
        ),
        (
            {"claim": {"name": "c", "path": "a/in"}},
            {"persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
        ),
        ({"claim": {"name": "answers", "path": "a/in"}}, {"persistentVolumeClaim": {"claimName": "answers"}}),
    ],
)
def test_where_the_input_comes_from(source: dict[str, Any], volume: dict[str, Any]) -> None:
    spec = batch_spec(input=source)
    assert next(v for v in pod(spec)["volumes"] if v["name"] == "input") == {"name": "input"} | volume
    wanted = "/batch/input/a/in" if "claim" in source else "/batch/input/input"
    assert plan(spec).runner.input == wanted


def test_the_name_is_that_of_what_cannot_change() -> None:
    name = job_name("nightly", "u", batch_spec())
    assert job_name("nightly", "u", batch_spec(suspend=True, completions=1, parallelism=1)) == name
    assert job_name("nightly", "other", batch_spec()) != name
    assert job_name("nightly", "u", batch_spec(engine={"maxNumSeqs": 4})) != name
    assert len(job_name("n" * 45, "u", batch_spec())) <= 63


def test_a_job_that_runs_is_that_of_this_release_too() -> None:
    """Made by one before, whose specs had no verify: it is neither made anew, nor does its spec ask for another."""
    spec = batch_spec()
    assert (job_name("nightly", "u", spec), inputs_of(spec)) == ("nightly-f453f1ed", "4865748f9104c6d7")
    off = batch_spec(verify={"mode": "Off"})
    assert job_name("nightly", "u", off) != job_name("nightly", "u", spec) and inputs_of(off) != inputs_of(spec)
    assert inputs_of(batch_spec(verify={"mode": "Auto"})) != inputs_of(off)


ASK_FOR_A_JOB = {"model", "deployment_ref", "pod_template_patch"} | OF_SHARDS
CHANGE_IN_A_JOB = {"suspend", "parallelism", "active_deadline_seconds", "ttl_seconds_after_finished"}
FOR_THE_NEXT_JOB = {"preflight", "backoff_limit"}


def test_what_an_edit_comes_to_is_known_of_every_field() -> None:
    rules = str(Qwen3BatchSpec.model_config["json_schema_extra"])
    fixed = {name for name in Qwen3BatchSpec.model_fields if f"'{to_camel(name)} is immutable" in rules}
    ways = [fixed, ASK_FOR_A_JOB, CHANGE_IN_A_JOB, FOR_THE_NEXT_JOB]
    assert sorted(itertools.chain(*ways)) == sorted(Qwen3BatchSpec.model_fields), "each is edited in one way"
    running: dict[str, Any] = {"model": None, "deploymentRef": {"name": "chat"}, "target": "Running"}
    keys = [batch_spec(**running, apiKeySecretRef={"name": name, "key": "k"}) for name in ("old", "new")]
    assert len({inputs_of(spec) for spec in keys}) == 2


def test_a_patch_of_the_pod() -> None:
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "vllm", "workingDir": "/x"}]}}
    template = job(batch_spec(podTemplatePatch=json.dumps(patch)))["spec"]["template"]
    assert template["metadata"]["labels"]["a"] == "b"
    assert template["metadata"]["labels"]["serving.qwen3.dev/batch"] == "nightly"
    assert template["spec"]["containers"][0]["workingDir"] == "/x"


def test_the_config_map_carries_the_whole_runner() -> None:
    spec = batch_spec(input={"prompts": ["你好", "two\nlines"], "format": "Text"})
    data = batch_config_map("team", "nightly", "u", spec, plan(spec).runner)["data"]
    assert {item["key"] for item in runner_items()} | {"prompts.jsonl"} == set(data)
    assert data["prompts.jsonl"] == '{"prompt": "你好"}\n{"prompt": "two\\nlines"}\n'
    assert json.loads(data["config.json"])["text"] is False, "prompts of the spec are JSON lines whatever the format"
    assert sum(map(len, data.values())) < 500_000


def test_the_runner_stands_on_the_standard_library_alone() -> None:
    """In the pod there is only vLLM's image, or the downloader's."""
    folder = Path(sys.modules["qwen3_in_engine.batch_runner"].__path__[0])
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                root = str(name).partition(".")[0]
                ours = str(name).startswith((PACKAGE, SHARED))
                assert ours or root in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_a_pod_that_asks_servers_has_neither_gpu_nor_weights() -> None:
    deployment = Qwen3DeploymentSpec.model_validate(
        {
            "model": {"id": "Qwen/Qwen3-8B"},
            "auth": {"apiKeySecretRef": {"name": "keys", "key": "chat"}},
            "podTemplatePatch": "spec: {hostIPC: true}",
        }
    )
    spec = batch_spec(model=None, deploymentRef={"name": "chat"}, target="Running")
    made = batch_job(META, spec, as_server(spec, deployment), plan(spec, deployment), "nightly-batch-0", SETTINGS)
    found = made["spec"]["template"]["spec"]
    (container,) = found["containers"]
    assert container["image"] == SETTINGS.downloader_image
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}}
    key = {"secretKeyRef": {"name": "keys", "key": "chat"}}
    assert container["env"][1:] == [{"name": "VLLM_API_KEY", "valueFrom": key}]
    assert {v["name"] for v in found["volumes"]} == {"runner", "input", "output", "home", "tmp"}
    assert "hostIPC" not in found


def test_a_pod_that_asks_servers_of_many_teams_has_a_key_of_its_own() -> None:
    said = {"model": {"id": "Qwen/Qwen3-8B"}, "auth": {"keys": {"secretRef": {"name": "teams"}}}}
    deployment = Qwen3DeploymentSpec.model_validate(said)
    key = {"name": "teams", "key": "batches"}
    spec = batch_spec(model=None, deploymentRef={"name": "chat"}, target="Running", apiKeySecretRef=key)
    made = batch_job(META, spec, as_server(spec, deployment), plan(spec, deployment), "nightly-batch-0", SETTINGS)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["env"][1:] == [{"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": key}}]
    assert {v["name"] for v in made["spec"]["template"]["spec"]["volumes"]}.isdisjoint({"keys", "limits"})


def test_what_is_finished_is_delivered_by_a_job_of_the_same_volumes() -> None:
    main = job(batch_spec(input={"claim": {"name": "prompts", "path": "in.jsonl"}}))
    main["metadata"]["uid"] = "job-uid"
    made = delivery_job(main, "batch_expired", "late" * 1000, SETTINGS)
    assert made["metadata"]["name"] == f"{main['metadata']['name']}-deliver"
    assert "kueue.x-k8s.io/queue-name" not in made["metadata"]["labels"]
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("job-uid", True, False)
    found = made["spec"]["template"]["spec"]
    (container,) = found["containers"]
    assert container["args"][:3] == ["/etc/qwen3/batch/config.json", "deliver", "batch_expired"]
    assert len(container["args"][3]) == 500
    assert "nvidia.com/gpu" not in str(container["resources"])
    assert {v["name"] for v in found["volumes"]} == {m["name"] for m in container["volumeMounts"]}

"""Everything that is made for a Qwen3Deployment, against files that a person has read.

`UPDATE_GOLDEN=1 make test-unit` writes them anew; read the diff before it is committed. A change of a pod template in
`minimal.yaml` makes every server in the world restart when its operator is upgraded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.commands.output import to_yaml, to_yaml_stream
from qwen3_operator.commands.render import server_manifests, shared_model_manifests
from qwen3_operator.desired.in_engine import config_map_name
from qwen3_operator.naming import claim_is_others, claim_name, model_name, model_path
from qwen3_operator.plan import NodeGpus, Weights, make_plan
from qwen3_operator.settings import Settings

FOLDER = Path(__file__).with_name("golden")
CASES = sorted(path.name.removesuffix(".cr.yaml") for path in FOLDER.glob("*.cr.yaml"))
SETTINGS = Settings(
    engine_image="vllm/vllm-openai:v0.33.0",
    downloader_image="registry.example/qwen3-downloader:1.0.0",
    image_pull_secrets=("pull",),
    identity="test",
    prometheus_address="http://prometheus.monitoring.svc:9090",
)
NODES = (NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8),)


def made(case: str) -> list[dict[str, Any]]:
    """The manifests for one CR, as the operator makes them once nothing is in the way."""
    cr = yaml.safe_load((FOLDER / f"{case}.cr.yaml").read_text())
    spec = Qwen3DeploymentSpec.model_validate(cr["spec"])
    assert spec.model is not None
    claim = claim_name(model_name(spec.model), spec.model)
    weights = Weights(claim, model_path(spec.model), claim_is_others=claim_is_others(spec.model))
    plan = make_plan(weights, spec, SETTINGS, NODES, "0a1b2c3d" if spec.engine.chat_template else "")
    assert not plan.problems
    namespace, name = cr["metadata"]["namespace"], cr["metadata"]["name"]
    objects = [
        *shared_model_manifests(namespace, spec, SETTINGS),
        *server_manifests(namespace, name, spec, plan, SETTINGS),
    ]
    return [_without_sources(it) for it in objects]


def _without_sources(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without the texts of the middleware, and with a name that does not depend on them."""
    text = json.dumps(manifest).replace(config_map_name(""), "-in-engine-0a1b2c")
    found: dict[str, Any] = json.loads(text)
    if "-in-engine-" in found["metadata"]["name"]:
        found["data"] = {name: f"({name})" for name in sorted(found["data"])}
    return found


def template(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The servers' pod template."""
    it: dict[str, Any] = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]
    return it


@pytest.mark.parametrize("case", CASES)
def test_manifests(case: str) -> None:
    golden = FOLDER / f"{case}.yaml"
    text = to_yaml_stream(made(case))
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_an_upgrade_of_the_operator_restarts_no_server() -> None:
    """The pod template of the same CR, byte by byte, as the release before made it."""
    golden = template(list(yaml.safe_load_all((FOLDER / "minimal.yaml").read_text())))
    assert to_yaml(template(made("minimal"))) == to_yaml(golden)


@pytest.mark.parametrize("case", CASES)
def test_more_nodes_of_the_same_kind_restart_no_server(case: str) -> None:
    spec = Qwen3DeploymentSpec.model_validate(yaml.safe_load((FOLDER / f"{case}.cr.yaml").read_text())["spec"])
    one, two = (make_plan(Weights("m", "p"), spec, SETTINGS, NODES * times) for times in (1, 2))
    assert one.command == two.command


@pytest.mark.parametrize("case", CASES)
def test_the_same_input_makes_the_same_manifests(case: str) -> None:
    assert json.dumps(made(case)) == json.dumps(made(case))


@pytest.mark.parametrize("case", CASES)
def test_pods_pass_pod_security_restricted(case: str) -> None:
    templates = [o["spec"]["template"]["spec"] for o in made(case) if o["kind"] in ("Deployment", "Job")]
    assert len(templates) >= 2
    for pod in templates:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False


@pytest.mark.parametrize("case", CASES)
def test_what_belongs_to_what(case: str) -> None:
    # The first Job is that of the model; those of adapters come behind it.
    objects = {o["kind"]: o for o in reversed(made(case)) if o["metadata"]["name"] != "chat-compile-cache"}
    server, service = objects["Deployment"], objects["Service"]
    assert service["spec"]["selector"] == server["spec"]["selector"]["matchLabels"]
    assert server["spec"]["template"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    volumes = {v["name"]: v for v in template(list(objects.values()))["spec"]["volumes"]}
    download = {v["name"]: v for v in objects["Job"]["spec"]["template"]["spec"]["volumes"]}
    claims = [it["models"]["persistentVolumeClaim"]["claimName"] for it in (volumes, download)]
    assert claims[0] == claims[1], "servers read what the Job wrote"
    for obj in objects.values():
        owners = obj["metadata"].get("ownerReferences", [])
        if obj["kind"] in ("Deployment", "Service", "Job"):
            assert [o["controller"] for o in owners] == [True]
        if obj["kind"] == "PersistentVolumeClaim":
            assert bool(owners) == (case == "full"), "only under retentionPolicy Delete has the claim an owner"
    (target,) = (a for a in objects["Job"]["spec"]["template"]["spec"]["containers"][0]["args"] if "--target=" in a)
    assert template(list(objects.values()))["spec"]["containers"][0]["args"][0] == target.removeprefix("--target=")


def test_facts_of_a_checkpoint_keep_the_command() -> None:
    """What is downloaded is what the catalogue knows: the command is the same before and after."""
    spec = Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}})
    config = yaml.safe_load((FOLDER / "qwen3-8b.config.yaml").read_text())
    before = make_plan(Weights("m", "p"), spec, SETTINGS, NODES)
    after = make_plan(Weights("m", "p", ModelFacts.from_config(config, 16_381_470_720)), spec, SETTINGS, NODES)
    assert after.command == before.command


def test_a_patch_that_an_older_crd_stored_makes_the_same() -> None:
    """There podTemplatePatch was an object: it stays as it is in what is stored, and must restart nothing."""
    cr = yaml.safe_load((FOLDER / "full.cr.yaml").read_text())
    spec = Qwen3DeploymentSpec.model_validate(cr["spec"])
    stored = Qwen3DeploymentSpec.model_validate(
        cr["spec"] | {"podTemplatePatch": yaml.safe_load(cr["spec"]["podTemplatePatch"])}
    )
    assert isinstance(stored.pod_template_patch, dict)
    plan = make_plan(Weights("m", "p"), spec, SETTINGS, NODES, "0a1b2c3d")
    first, second = (server_manifests("team", "chat", it, plan, SETTINGS) for it in (spec, stored))
    assert first == second

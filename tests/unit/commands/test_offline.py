"""`explain` and `render` of files that hold Qwen3Deployments and Qwen3Batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_batch_plan import batch_spec

from qwen3_operator.__main__ import main
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.commands.render import UID, shared_model_manifests
from qwen3_operator.desired.batch import batch_job
from qwen3_operator.desired.batch_config import batch_config_map
from qwen3_operator.naming import claim_is_others, claim_name, model_name, model_path
from qwen3_operator.plan import Weights
from qwen3_operator.plan.batch import BatchPlan, as_server, make_batch_plan
from qwen3_operator.settings import Settings

ROOT = Path(__file__).parents[3]
TINY = str(ROOT / "tests/data/tiny-qwen3/config.json")
MODEL = {"id": "Qwen/Qwen3-8B"}
REFERS: dict[str, Any] = {"model": None, "deploymentRef": {"name": "chat"}}
Document = dict[str, Any]
Capture = pytest.CaptureFixture[str]


def resource(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> Document:
    """A manifest."""
    return {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def chat(spec: dict[str, Any] | None = None, **meta: Any) -> Document:
    """The Qwen3Deployment `chat`; `spec` beside or in the place of its model."""
    return resource("Qwen3Deployment", "chat", {"model": MODEL} | (spec or {}), **meta)


def nightly(spec: dict[str, Any] | None = None, **meta: Any) -> Document:
    """The Qwen3Batch `nightly`; a field of `spec` that is None is left out."""
    base = {
        "model": MODEL,
        "input": {"prompts": ["hello"]},
        "output": {"claim": {"name": "answers", "path": "a/out.jsonl"}},
    }
    fields = {key: value for key, value in (base | (spec or {})).items() if value is not None}
    return resource("Qwen3Batch", "nightly", fields, **meta)


def ran(tmp_path: Path, command: str, documents: list[Any], *options: str) -> int:
    """Exit code of the command for a file with these documents."""
    path = tmp_path / "file.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return main([command, "-f", str(path), *options])


def explained(tmp_path: Path, capsys: Capture, documents: list[Any], *options: str) -> Any:
    """The JSON of `explain`."""
    ran(tmp_path, "explain", documents, "-o", "json", *options)
    return json.loads(capsys.readouterr().out)


def plan(document: Document, namespace: str = "default", lender: Document | None = None) -> BatchPlan:
    """The plan of a Qwen3Batch, as the operator makes it where nothing is known of the nodes."""
    spec = batch_spec(**{"model": None} | document["spec"])
    server = as_server(spec, Qwen3DeploymentSpec.model_validate(lender["spec"]) if lender else None)
    assert server.model is not None
    claim = claim_name(model_name(server.model), server.model)
    weights = Weights(claim, model_path(server.model), claim_is_others=claim_is_others(server.model))
    return make_batch_plan(namespace, document["metadata"]["name"], spec, server, weights, Settings())


def test_json_of_a_batch(tmp_path: Path, capsys: Capture) -> None:
    batch = nightly({"engine": {"maxModelLen": 4096}, "sampling": {"thinking": "Disabled"}})
    data = explained(tmp_path, capsys, [batch], "--gpu", "H100-80GB")
    assert set(data) == set(explained(tmp_path, capsys, [chat()]))
    assert data["command"] == plan(batch).engine_status()["command"]
    assert data["plan"]["maxModelLen"]["value"] == "4096"
    assert data["plan"]["thinking"] == {"value": "Disabled", "reason": "set in the spec", "source": "spec"}
    assert data["plan"]["servedModelNames"]["value"] == "Qwen3-8B"
    assert data["preflight"]["verdict"] == "Fits" and data["problems"] == []


@pytest.mark.parametrize(("document", "title"), [(nightly(), "Qwen3Batch nightly"), (chat(), "Qwen3Deployment chat")])
def test_the_table_says_what_it_is_of(document: Document, title: str, tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "explain", [document]) == 0
    assert title in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "path", "value"),
    [
        (["--gpu", "H100-80GB"], 0, ("preflight", "verdict"), "Fits"),
        (["--gpu-memory", "40Gi"], 1, ("preflight", "verdict"), "DoesNotFit"),
        (["--gpu", "L4-24GB"], 1, ("preflight", "smallestTensorParallelSize"), 4),
        (["--gpu", "L4-24GB", "--gpus-per-node", "2"], 1, ("preflight", "smallestTensorParallelSize"), None),
        (["--engine-version", "0.11.0"], 0, ("plan", "version", "value"), "0.11.0"),
    ],
    ids=["gpu", "gpu-memory", "too-small", "gpus-per-node", "engine-version"],
)
def test_options_hold_for_batches(
    options: list[str], code: int, path: tuple[str, ...], value: Any, tmp_path: Path, capsys: Capture
) -> None:
    batch = nightly({"model": {"id": "Qwen/Qwen3-32B"}, "engine": {"maxModelLen": 4096}})
    assert ran(tmp_path, "explain", [batch], "-o", "json", *options) == code
    found = json.loads(capsys.readouterr().out)
    for key in path:
        found = found[key]
    assert found == value


def test_facts_of_a_model_that_the_catalogue_lacks(tmp_path: Path, capsys: Capture) -> None:
    batch = nightly({"model": {"id": "me/mine"}})
    assert explained(tmp_path, capsys, [batch])["plan"]["maxModelLen"]["source"] == "catalogue"
    known = explained(tmp_path, capsys, [batch], "--config", TINY)["plan"]["maxModelLen"]
    assert "until the checkpoint's config.json is known" not in known["reason"]


@pytest.mark.parametrize("lender_first", [True, False])
@pytest.mark.parametrize(
    ("theirs", "mine"), [({}, {}), ({"namespace": "a"}, {"namespace": "a"}), ({}, {"namespace": "default"})]
)
def test_a_deployment_of_the_file_lends_model_and_engine(
    theirs: dict[str, str], mine: dict[str, str], lender_first: bool, tmp_path: Path, capsys: Capture
) -> None:
    lender = chat({"model": {"id": "Qwen/Qwen3-4B"}, "engine": {"maxModelLen": 2048, "maxNumSeqs": 7}}, **theirs)
    batch = nightly(REFERS, **mine)
    documents = [lender, batch] if lender_first else [batch, lender]
    data = explained(tmp_path, capsys, documents)[1 if lender_first else 0]
    assert data["command"] == list(plan(batch, lender=lender).runner.engine)
    assert data["command"][data["command"].index("--max-num-seqs") + 1] == "7"


@pytest.mark.parametrize(
    "others",
    [[], [chat(namespace="other")], [resource("Qwen3Deployment", "talk", {"model": MODEL})]],
    ids=["alone", "namespace", "name"],
)
@pytest.mark.parametrize("command", ["explain", "render"])
def test_without_its_deployment(command: str, others: list[Document], tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, command, [nightly(REFERS), *others]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Qwen3Batch nightly: spec.deploymentRef.name: Qwen3Deployment chat of namespace default" in said.err
    assert "put it in the same file" in said.err


def test_each_of_a_file_in_its_order(tmp_path: Path, capsys: Capture) -> None:
    documents = [nightly(), {"apiVersion": "v1", "kind": "ConfigMap"}, chat(), None, nightly(REFERS)]
    kinds = ["--host" in data["command"] for data in explained(tmp_path, capsys, documents)]
    assert kinds == [False, True, False], "only a server listens on a port"
    assert ran(tmp_path, "explain", documents) == 0
    titles = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("Qwen3")]
    assert titles == ["Qwen3Batch nightly", "Qwen3Deployment chat", "Qwen3Batch nightly"]


@pytest.mark.parametrize("documents", [[], [{"kind": "ConfigMap"}], ["text"], [{"kind": []}]], ids=str)
def test_a_file_with_neither(documents: list[Any], tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "explain", documents) == 2
    assert "holds no Qwen3Deployment, no Qwen3Batch, no Qwen3Model" in capsys.readouterr().err


RULES = [
    (nightly({"model": None}), "spec: give either model or deploymentRef"),
    (nightly(REFERS | {"model": MODEL}), "spec: give either model or deploymentRef"),
    (nightly(REFERS | {"engine": {}}), "spec: deploymentRef excludes engine: it is that of the Qwen3Deployment"),
    (nightly({"parallelism": 2}), "spec: parallelism must be at most completions"),
    (nightly({"input": {}}), "spec.input: give one of configMapKeyRef, claim and prompts"),
    (
        nightly({"input": {"prompts": ["a"], "claim": {"name": "c", "path": "p"}}}),
        "spec.input: give one of configMapKeyRef, claim and prompts",
    ),
    (nightly({"resources": {"limits": {"nvidia.com/gpu": 1}}}), "spec: the GPU count follows from"),
    (
        nightly({"gpu": {"resourceName": "amd.com/gpu"}, "resources": {"requests": {"amd.com/gpu": "1"}}}),
        "spec: the GPU count follows from",
    ),
    (chat({"resources": {"requests": {"nvidia.com/gpu": 1}}}), "spec: the GPU count follows from"),
]
WRONG = [
    (nightly({"sampel": {}}), "unknown field spec.sampel"),
    (nightly({"replicas": 2}), "unknown field spec.replicas"),
    (nightly({"engine": {"thinking": "Enabled"}}), "unknown field spec.engine.thinking"),
    (nightly({"input": None}), "spec.input: "),
    (nightly({"completions": "4"}), "spec.completions: "),
    (nightly({"suspend": "yes"}), "spec.suspend: "),
    (nightly({"sampling": {"temperature": 0.6}}), "spec.sampling.temperature: "),
    (nightly({"sampling": {"maxTokens": 0}}), "spec.sampling.maxTokens: "),
    (resource("Qwen3Batch", "nightly", ["a"]), "spec: "),  # type: ignore[arg-type]
    (nightly() | {"apiVersion": "serving.qwen3.dev/v1"}, "apiVersion is serving.qwen3.dev/v1, not "),
    (chat({"engine": {"maxModelLen": "8192"}}), "spec.engine.maxModelLen: "),
    (chat({"completions": 2}), "unknown field spec.completions"),
    (chat({"podTemplatePatch": {"spec": {}}}), "spec.podTemplatePatch: must be text: write `podTemplatePatch: |`"),
    (nightly({"podTemplatePatch": {"spec": {}}}), "spec.podTemplatePatch: must be text: write `podTemplatePatch: |`"),
    (chat({"gpu": {"memory": "lots"}}), "spec.gpu.memory: must be a quantity greater than 0 and at most 1Pi"),
    (chat({"gpu": {"memory": "0"}}), "spec.gpu.memory: must be a quantity greater than 0 and at most 1Pi"),
    (
        chat({"resources": {"limits": {"cpu": "4 cores"}}}),
        "spec.resources.limits.cpu: must be a quantity from 0 to 1Pi, like 4",
    ),
]


@pytest.mark.parametrize(("document", "words"), RULES + WRONG, ids=[words for _, words in RULES + WRONG])
@pytest.mark.parametrize("command", ["explain", "render"])
def test_what_the_crd_refuses(command: str, document: Document, words: str, tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, command, [document]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{document['kind']} {document['metadata']['name']}: {words}" in said.err


@pytest.mark.parametrize("words", sorted({words.split(": ", 1)[1] for _, words in RULES}))
def test_rules_have_the_words_of_the_crd(words: str) -> None:
    assert words in " ".join((ROOT / "crds/qwen3batches.yaml").read_text().replace("'", "").split())


@pytest.mark.parametrize("metadata", [None, [], {}, {"name": 1}], ids=str)
def test_without_a_name(metadata: Any, tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "explain", [nightly() | {"metadata": metadata}]) == 2
    assert "metadata.name: give one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("documents", "field", "words"),
    [
        ([nightly({"engine": {"extraArgs": ["--no-such"]}})], "spec.engine.extraArgs[0]", "has no --no-such"),
        ([nightly({"model": {"id": "Qwen/Qwen3-TTS"}})], "spec.model.id", "vLLM does not serve"),
        (
            [nightly({"model": {"id": "Qwen/Qwen3-4B-Instruct-2507"}, "sampling": {"thinking": "Enabled"}})],
            "spec.sampling.thinking",
            "cannot think",
        ),
        (
            [nightly(REFERS), chat({"engine": {"extraArgs": ["--no-such"]}})],
            "spec.deploymentRef.name",
            "Qwen3Deployment chat: spec.engine.extraArgs[0]: vLLM",
        ),
        (
            [nightly(REFERS), chat({"model": {"id": "Qwen/Qwen3-TTS"}})],
            "spec.deploymentRef.name",
            "Qwen3Deployment chat: spec.model.id: ",
        ),
    ],
    ids=["argument", "not-served", "thinking", "argument-lent", "not-served-lent"],
)
def test_problems_name_the_batchs_own_field(
    documents: list[Document], field: str, words: str, tmp_path: Path, capsys: Capture
) -> None:
    assert ran(tmp_path, "explain", documents, "-o", "json") == 2
    data = json.loads(capsys.readouterr().out)
    (problem,) = (data[0] if isinstance(data, list) else data)["problems"]
    assert problem["field"] == field and words in problem["message"]
    assert ran(tmp_path, "render", documents) == 2
    assert f"Qwen3Batch nightly: {field}: " in capsys.readouterr().err


def test_a_warning_of_what_is_lent(tmp_path: Path, capsys: Capture) -> None:
    documents = [nightly(REFERS), chat({"engine": {"image": "mine:latest"}})]
    assert ran(tmp_path, "explain", documents, "-o", "json") == 0
    (warning,) = json.loads(capsys.readouterr().out)[0]["problems"]
    assert (warning["severity"], warning["field"]) == ("warning", "spec.deploymentRef.name")


def test_a_batch_needs_no_flag_that_only_servers_have(tmp_path: Path, capsys: Capture) -> None:
    """The runner renders chats itself, so it can do without --default-chat-template-kwargs (vLLM 0.14)."""
    batch = nightly({"sampling": {"thinking": "Disabled"}})
    assert ran(tmp_path, "explain", [batch], "--engine-version", "0.11.0") == 0
    assert ran(tmp_path, "explain", [chat({"engine": {"thinking": "Disabled"}})], "--engine-version", "0.11.0") == 2


@pytest.mark.parametrize(
    "batch",
    [
        nightly(),
        nightly(namespace="a"),
        nightly({"completions": 4, "parallelism": 2}, labels={"kueue.x-k8s.io/queue-name": "q"}),
        nightly({"model": MODEL | {"storage": {"existingClaim": {"name": "weights"}}}}),
    ],
    ids=["small", "namespace", "queue", "existing-claim"],
)
def test_a_batch_renders_to_what_the_operator_makes(batch: Document, tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "render", [batch], "-n", "team") == 0
    meta = {"namespace": "team", "uid": UID} | batch["metadata"]
    spec = batch_spec(**batch["spec"])
    server, planned, settings = as_server(spec, None), plan(batch, meta["namespace"]), Settings()
    config_map = batch_config_map(meta["namespace"], "nightly", UID, spec, planned.runner)
    job = batch_job(meta, spec, server, planned, config_map["metadata"]["name"], settings)
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [
        *shared_model_manifests(meta["namespace"], server, settings),
        {"apiVersion": "v1", "kind": "ConfigMap", **config_map},
        {"apiVersion": "batch/v1", "kind": "Job", **job},
    ]


def test_what_is_shared_is_rendered_once(tmp_path: Path, capsys: Capture) -> None:
    """Also where the users differ in what does not make it another model: the first decides."""
    elsewhere = nightly(REFERS | {"scheduling": {"nodeSelector": {"pool": "batch"}}})
    assert ran(tmp_path, "render", [chat(), elsewhere, nightly(namespace="other")]) == 0
    found = [(o["kind"], o["metadata"]["namespace"]) for o in yaml.safe_load_all(capsys.readouterr().out)]
    model = ["Qwen3Model", "PersistentVolumeClaim", "Job"]
    assert found == [
        *((kind, "default") for kind in [*model, "Service", "ConfigMap", "Deployment", "ConfigMap", "Job"]),
        *((kind, "other") for kind in [*model, "ConfigMap", "Job"]),
    ]


@pytest.mark.parametrize("made", [chat, nightly])
def test_a_patch_that_cannot_be_merged(made: Any, tmp_path: Path, capsys: Capture) -> None:
    document = made({"podTemplatePatch": "spec: {containers: [{image: x}]}"})
    assert ran(tmp_path, "render", [document]) == 2
    words = f"{document['kind']} {document['metadata']['name']}: spec.podTemplatePatch.spec.containers[0] has no name"
    assert words in capsys.readouterr().err


def offered(**meta: Any) -> Document:
    """A Qwen3Model that somebody made for others."""
    return resource("Qwen3Model", "ours", MODEL | {"storage": {"size": "30Gi"}}, **meta)


REFERRED: Document = chat({"model": None, "modelRef": {"name": "ours"}})
del REFERRED["spec"]["model"]


def test_what_a_model_ref_names_is_taken_from_the_file(tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "render", [REFERRED, offered(), nightly(REFERS)]) == 0
    found = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [o["kind"] for o in found] == [
        "PersistentVolumeClaim",
        "Job",
        "Service",
        *["ConfigMap", "Deployment"],
        "ConfigMap",
        "Job",
    ]
    pods = [o["spec"]["template"]["spec"] for o in found if o["kind"] in ("Deployment", "Job")]
    claims = [
        [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        for pod in pods
    ]
    assert all("ours" in names for names in claims), claims


def test_explain_knows_what_a_model_ref_names(tmp_path: Path, capsys: Capture) -> None:
    named = explained(tmp_path, capsys, [chat()], "--gpu", "H100-80GB")
    assert explained(tmp_path, capsys, [offered(), REFERRED], "--gpu", "H100-80GB") == named


def test_a_model_alone(tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "render", [offered()]) == 0
    assert [o["kind"] for o in yaml.safe_load_all(capsys.readouterr().out)] == ["PersistentVolumeClaim", "Job"]
    assert ran(tmp_path, "explain", [offered()]) == 2
    assert "a Qwen3Model alone has no plan" in capsys.readouterr().err


@pytest.mark.parametrize("others", [[], [offered(namespace="other")]], ids=["none", "another-namespace"])
def test_without_its_model(others: list[Document], tmp_path: Path, capsys: Capture) -> None:
    assert ran(tmp_path, "explain", [REFERRED, *others]) == 2
    assert "spec.modelRef.name: Qwen3Model ours of namespace default is not in the file" in capsys.readouterr().err

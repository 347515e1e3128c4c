"""`kubectl qwen3` from its words to what it prints, against an API server of recorded objects."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.plugin import recorded
from tests.unit.plugin.api_server import ApiServer
from tests.unit.plugin.conftest import Shell

from qwen3_operator import naming
from qwen3_operator.desired import server
from qwen3_operator.plugin import bundle, names, rights
from qwen3_operator.plugin.api import Api
from qwen3_operator.plugin.arguments import make_parser
from qwen3_operator.plugin.checks import OLDEST_KUBERNETES

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "qwen3-operator"
PLUGIN = ROOT / "operator" / "qwen3_operator" / "plugin"


def test_names_are_those_of_the_operator() -> None:
    for name in (
        "QWEN3_DEPLOYMENTS",
        "QWEN3_MODELS",
        "QWEN3_BATCHES",
        "DEPLOYMENT_LABEL",
        "MODEL_LABEL",
        "BATCH_LABEL",
    ):
        assert getattr(names, name) == getattr(naming, name)
    assert names.SELECTOR == naming.SELECTOR
    assert names.PORT == server.PORT


def test_rights_are_those_of_the_chart() -> None:
    """What doctor asks for is what the chart grants by default."""
    whole = (CHART / "templates" / "_rules.tpl").read_text()
    default = re.sub(r"{{- if [^}]*}}.*?{{- end }}\n", "", whole, flags=re.DOTALL)
    rules, cluster = default.split('{{- define "qwen3-operator.clusterRules" -}}')
    for part, expected in ((rules, rights.IN_NAMESPACES), (cluster, rights.OF_CLUSTER)):
        lines = [line for line in part.splitlines() if not line.startswith(("{{", " " * 5 + "tests"))]
        found = {
            rights.Right(verb, group, resource)
            for rule in yaml.safe_load("\n".join(lines))
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        assert found == set(expected)


def test_the_oldest_kubernetes_is_the_charts() -> None:
    oldest = ".".join(map(str, OLDEST_KUBERNETES))
    assert f'kubeVersion: ">={oldest}.' in (CHART / "Chart.yaml").read_text()


def test_every_command_stands_in_the_document() -> None:
    page = (ROOT / "docs" / "kubectl-qwen3.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    reported = {command for row in rows for command in re.findall(r"`(\w+)", row)}
    assert reported == set(re.findall(r"^    ([a-z]+)", make_parser().format_help(), re.MULTILINE))


def test_help_loads_nothing_that_takes_time() -> None:
    code = "import sys; from qwen3_operator.plugin import __main__; __main__.make_parser().format_help()"
    code += "; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "operator")
    assert done.returncode == 0, done.stderr
    assert not {"kubernetes", "pydantic", "rich", "yaml", "aiohttp"} & set(done.stdout.split())


def test_no_command_imports_the_client() -> None:
    for path in PLUGIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in found if name.split(".")[0] in ("kubernetes", "kopf", "aiohttp")], path
            assert "qwen3_operator.controller.cluster" not in found, path


@pytest.fixture
def full(cluster: ApiServer) -> ApiServer:
    """A cluster at work: one server ready, one in download, the operator, nodes."""
    cluster.objects += recorded.deployment("chat", auth={"apiKeySecretRef": {"name": "keys", "key": "chat"}})
    cluster.objects += recorded.deployment(
        "long", "downloading", done=7 * recorded.GIB, model={"id": "Qwen/Qwen3-8B", "revision": "v2"}
    )
    cluster.objects += [*recorded.operator(), recorded.node(), recorded.storage_class(), recorded.claim("left")]
    return cluster


def test_status_of_one(full: ApiServer, shell: Shell) -> None:
    code, out, err = shell("status", "chat")
    assert (code, err) == (0, "")
    assert "Qwen3Deployment chat" in out and "397,568 tokens" in out
    assert "1 × NVIDIA-H100-80GB-HBM3" in out


@pytest.mark.parametrize("output", [[], ["-o", "json"]])
def test_a_script_sees_that_something_waits_for_a_person(full: ApiServer, shell: Shell, output: list[str]) -> None:
    (chat,) = [it for it in full.objects if (it["kind"], it["metadata"]["name"]) == ("Qwen3Deployment", "chat")]
    next(c for c in chat["status"]["conditions"] if c["type"] == "Stalled")["status"] = "True"
    code, out, err = shell("status", "chat", *output)
    assert (code, err) == (1, "") and "chat" in out
    assert shell("status", "q3d/long", *output)[0] == 0


def test_status_as_json(full: ApiServer, shell: Shell) -> None:
    shown = json.loads(shell("status", "q3d/long", "-o", "json")[1])
    download = next(stage for stage in shown["stages"] if stage["name"] == "download")
    assert (download["state"], download["done"], download["total"]) == ("now", 7 * recorded.GIB, recorded.TOTAL)
    assert "1m32s to go" in download["message"]


def test_overview(full: ApiServer, shell: Shell) -> None:
    rows = json.loads(shell("status", "-A", "-o", "json")[1])
    assert {(row["kind"], row["name"]) for row in rows} >= {("Qwen3Deployment", "chat"), ("Qwen3Deployment", "long")}
    assert "NAMESPACE" in shell("status", "-A")[1]
    assert shell("status", "-n", "empty") == (0, "", "nothing in namespace empty\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", "chta"], "did you mean chat?"),
        (["status", "nothing-like-it"], "there are chat, long"),
        (["status", "-n", "other", "chat"], "it is in team (-n)"),
        (["explain", "qwen3-8b"], "has no Qwen3Deployment or Qwen3Batch qwen3-8b"),
    ],
)
def test_a_name_that_is_not_there(full: ApiServer, shell: Shell, words: list[str], expected: str) -> None:
    code, out, err = shell(*words)
    assert (code, out) == (1, "")
    assert expected in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [["status"], ["status", "chat"], ["models"], ["explain", "chat"], ["chat", "chat"]])
def test_without_crds(cluster: ApiServer, shell: Shell, words: list[str]) -> None:
    cluster.serves = False
    code, _, err = shell(*words)
    assert code == 1
    assert "CRDs are not installed" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [["status"], ["status", "chat"], ["models"], ["explain", "chat"], ["chat", "chat"]])
def test_where_nothing_may_be_read(full: ApiServer, shell: Shell, words: list[str]) -> None:
    full.allows = lambda verb, resource, namespace: False
    code, _, err = shell(*words)
    assert code == 1
    assert "is forbidden" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["status", "-w"], ["status", "pods/chat"], ["explain", "chat", "--gpus"], ["explain", "chat", "-f", "x"]]
)
def test_bad_words(full: ApiServer, shell: Shell, words: list[str]) -> None:
    code, _, err = shell(*words)
    assert code == 2 and err.startswith("kubectl qwen3: ")


def test_who_may_not_see_pods_sees_the_rest(full: ApiServer, shell: Shell) -> None:
    full.allows = lambda verb, resource, namespace: resource not in ("pods", "events", "nodes")
    code, out, _ = shell("status", "chat")
    assert code == 0 and "(pods: not shown, you may not read them here)" in out


def test_models(full: ApiServer, shell: Shell) -> None:
    rows = json.loads(shell("models", "-o", "json")[1])
    found = {row["name"]: row for row in rows}
    left = found.pop("left")
    assert (left["state"], left["users"], left["capacityBytes"]) == ("Kept", 0, 22 * recorded.GIB)
    assert {(row["state"], tuple(row["usedBy"])) for row in found.values()} == {
        ("Ready", ("chat",)),
        ("Downloading", ("long",)),
    }
    assert [row["name"] for row in json.loads(shell("models", "--unused", "-o", "json")[1])] == ["left"]


def test_explain_of_what_is_in_the_cluster(full: ApiServer, shell: Shell) -> None:
    code, out, _ = shell("explain", "chat", "-o", "json")
    made = json.loads(out)
    assert code == 0 and made["preflight"]["verdict"] == "Fits"
    assert (
        made["command"]
        == next(o for o in full.objects if o["kind"] == "Qwen3Deployment")["status"]["engine"]["command"]
    )
    code, out, _ = shell("explain", "chat", "--gpu-memory", "14Gi")
    assert code == 1 and "DoesNotFit" in out


def verdicts(shell: Shell) -> tuple[int, dict[str, str]]:
    code, out, _ = shell("doctor", "-o", "json")
    return code, {check["name"]: check["verdict"] for check in json.loads(out)}


def test_doctor_of_a_cluster_in_order(full: ApiServer, shell: Shell) -> None:
    code, found = verdicts(shell)
    assert code == 0
    assert set(found.values()) == {"ok"}, found


def test_doctor_of_an_empty_cluster(cluster: ApiServer, shell: Shell) -> None:
    cluster.serves = False
    code, found = verdicts(shell)
    assert code == 1
    assert [found[name] for name in ("CRDs", "operator", "GPUs", "storage")] == ["wrong"] * 4


def test_doctor_of_a_person_who_sees_a_namespace_alone(full: ApiServer, shell: Shell) -> None:
    full.allows = lambda verb, resource, namespace: namespace == recorded.NAMESPACE
    full.reviews = lambda spec: spec["resourceAttributes"]["verb"] in ("get", "list")
    code, found = verdicts(shell)
    assert code == 0, "what may not be seen is not wrong"
    assert {found[name] for name in ("GPUs", "storage")} == {"unknown"}
    assert found["your rights"] == "warning" and found["resources"] == "ok"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Lease", lambda o: o["spec"].update(renewTime=recorded.ago(40)) if o["kind"] == "Lease" else None),
        ("Lease", lambda o: o["spec"].update(holderIdentity="") if o["kind"] == "Lease" else None),
        ("operator", lambda o: o.get("status", {}).update(readyReplicas=0)),
        ("GPUs", lambda o: o["status"].update(allocatable={}) if o["kind"] == "Node" else None),
    ],
)
def test_doctor_finds(full: ApiServer, shell: Shell, name: str, change: Any) -> None:
    for obj in full.objects:
        change(obj)
    code, found = verdicts(shell)
    assert code == 1 and found[name] == "wrong"


def test_doctor_names_a_right_that_the_operator_lacks(full: ApiServer, shell: Shell) -> None:
    full.reviews = lambda spec: not (spec.get("user") and spec["resourceAttributes"]["resource"] == "services")
    code, out, _ = shell("doctor")
    assert code == 1 and "create services, get services" in out


PLANTED = {
    "env of the spec": "env-value-1f2e3d",
    "flag": "flag-value-9c8b7a",
    "patch": "patch-value-5d4c3b",
    "log": "sk-logged0123456789",
    "bearer": "bearer-0123456789abcdef",
    "url": "hunter2hunter2",
    "prompt": "a very private question",
    "annotation": "applied-value-7777",
    "operator": "proxy-password-4242",
    "secret": "never-read-0000",
    "configmap": "a line of the input",
    "previous": "hf_ABCDEFGHIJKLMNOP",
}


def test_a_bundle_holds_no_secret(full: ApiServer, shell: Shell, tmp_path: Path) -> None:
    patch = {"spec": {"containers": [{"name": "vllm", "env": [{"name": "X", "value": PLANTED["patch"]}]}]}}
    full.objects += recorded.deployment(
        "planted",
        model={"id": "Qwen/Qwen3-8B", "revision": "v3"},
        engine={
            "env": [{"name": "MY_KEY", "value": PLANTED["env of the spec"]}],
            "extraArgs": ["--api-key", PLANTED["flag"], f"--ssl-key-token={PLANTED['flag']}"],
        },
        podTemplatePatch=json.dumps(patch),
        verify={"prompts": [{"prompt": PLANTED["prompt"], "contains": ["x"]}]},
    )
    for obj in full.objects:
        if obj["metadata"]["name"] == "planted":
            last = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"x": PLANTED["annotation"]})}
            obj["metadata"].setdefault("annotations", {}).update(last)
    full.objects += recorded.operator(http_proxy=f"http://me:{PLANTED['operator']}@proxy:3128")[:1]
    full.objects += [
        {"kind": "Secret", "metadata": recorded.meta("keys"), "data": {"chat": PLANTED["secret"]}},
        {
            "kind": "ConfigMap",
            "metadata": recorded.meta("lines", labels={"app.kubernetes.io/managed-by": "qwen3-operator"}),
            "data": {"input.jsonl": PLANTED["configmap"]},
        },
    ]
    full.logs["chat-7d9f8c6b5-x0k2p"] = (
        f"Authorization: Bearer {PLANTED['bearer']}\nGET https://me:{PLANTED['url']}@hub.example/x\n"
        f"non-default args: {{'model': 'm', 'api_key': ['{PLANTED['flag']}']}}\nkey {PLANTED['log']} ok\nall is well\n"
    )
    full.logs["qwen3-operator-6d5f-abcde"] = f"a token {PLANTED['previous']} was used\n"
    path = tmp_path / "it.tar.gz"
    code, out, err = shell("bundle", "--file", str(path))
    assert (code, out) == (0, f"{path}\n"), err
    files = contents(path)
    reported = {
        name: [what for what, secret in PLANTED.items() if secret.encode() in data] for name, data in files.items()
    }
    assert not {name: found for name, found in reported.items() if found}
    assert not [target for target in full.asked if "/secrets" in target]
    names_ = {name.split("/", 1)[1] for name in files}
    assert {
        "doctor.json",
        "bundle.json",
        "team/qwen3deployments.json",
        "team/pods.json",
        "operator/lease.json",
    } <= names_
    log = next(data for name, data in files.items() if name.endswith("chat-7d9f8c6b5-x0k2p-vllm.log"))
    assert b"all is well" in log and b"'model': 'm'" in log
    assert b"apiKeySecretRef" in next(
        data for name, data in files.items() if name.endswith("team/qwen3deployments.json")
    )
    assert path.stat().st_mode & 0o077 == 0
    assert shell("bundle", "--file", str(path))[0] == 2, "what is there is not written over"


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        found = {entry.name: tar.extractfile(entry) for entry in tar.getmembers()}
        return {name: it.read() for name, it in found.items() if it}


def test_a_bundle_is_bounded(full: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 40_000)
    monkeypatch.setattr(bundle, "MOST_LOGS", 1)
    full.logs["chat-7d9f8c6b5-x0k2p"] = "x" * 50_000
    stream = io.BytesIO()
    archive = bundle.Archive("it", stream)
    bundle.collect(api, ["team"], archive)
    archive.close()
    assert archive.size <= 40_000
    assert any("MiB at most" in line for line in archive.left_out)
    assert any("more than 1 logs" in line for line in archive.left_out)


def test_lists_are_read_in_pages(cluster: ApiServer, api: Api) -> None:
    cluster.objects += [{"kind": "Pod", "metadata": recorded.meta(f"p{n}")} for n in range(1200)]
    from qwen3_operator.controller.kinds import PODS

    assert len(api.list(PODS, "team").items) == 1200
    listing = api.list(PODS, "team", most=700)
    assert len(listing.items) == 700 and listing.more

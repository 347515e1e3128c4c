"""`kubectl qwen3` as a person runs it: the real kubectl, a real API server, the rights of `view` and `edit` alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import devcluster
import pytest
import yaml
from devcluster import tools
from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.installed import _with_token
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d, config_map, secret
from tests.documents.snippets import documented

SECRET = "never-in-a-bundle-0123456789"


@dataclass(frozen=True)
class Person:
    """Somebody with a role in one namespace."""

    kubeconfig: Path
    namespace: str
    path: str

    def run(self, *words: str, expected: int = 0) -> str:
        """What `kubectl WORDS` prints; nothing of it is a traceback."""
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": self.path}
        done = subprocess.run(["kubectl", *words], env=environment, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == expected, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with kubectl and the plugin."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "kubectl").symlink_to(tools.ensure(["kubectl"])["kubectl"])
    for name, module in (("kubectl-qwen3", "plugin.__main__"), ("kubectl_complete-qwen3", "plugin.completion")):
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom qwen3_operator.{module} import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def chat(serving: World) -> World:
    """A Qwen3Deployment that is ready, with a key."""
    serving.apply(secret("keys", chat=SECRET), config_map("mine", line=SECRET))
    cr = Q3d().set(auth={"apiKeySecretRef": {"name": "keys", "key": "chat"}})
    serving.apply(cr.engine(env=[{"name": "MY_TOKEN", "value": SECRET}]))
    serving.wait_ready("chat")
    return serving


@pytest.fixture(params=["view", "edit"])
def person(
    request: pytest.FixtureRequest, chat: World, cluster: devcluster.Cluster, programs: str, tmp_path: Path
) -> Iterator[Person]:
    """Somebody with this role in the namespace, and nothing else."""
    role, namespace = request.param, chat.namespace
    cluster.kubectl("-n", namespace, "create", "serviceaccount", role)
    cluster.kubectl(
        *("-n", namespace, "create", "rolebinding", role),
        *(f"--clusterrole={role}", f"--serviceaccount={namespace}:{role}"),
    )
    token = cluster.kubectl("-n", namespace, "create", "token", role).strip()
    config = yaml.safe_load(_with_token(yaml.safe_load(cluster.kubeconfig.read_text()), token))
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    yield Person(kubeconfig, namespace, programs)
    cluster.kubectl("-n", namespace, "delete", "rolebinding,serviceaccount", role)


@pytest.fixture
def admin(cluster: devcluster.Cluster, chat: World, programs: str) -> Person:
    """The administrator."""
    return Person(cluster.kubeconfig, chat.namespace, programs)


def test_status(person: Person) -> None:
    shown = person.run(*documented("kubectl qwen3 status").split()[1:])
    assert "Qwen3Deployment" in shown and "Serving" in shown
    shown = person.run("qwen3", "status", "chat")
    assert "accepted" in shown and "answers" in shown and "1 of 1 ready" in shown
    found = json.loads(person.run("qwen3", "status", "q3d/chat", "-o", "json"))
    assert found["ready"] == "True"
    assert {stage["state"] for stage in found["stages"]} <= {"done", "unknown"}
    assert len(found["pods"]) == 1 and found["pods"][0]["gpus"].startswith("1")


def test_status_of_a_download(chat: World, admin: Person) -> None:
    chat.api.apply(stage(chat.namespace, NEVER_ENDS))
    chat.apply(Q3d("slow").model("Qwen/Qwen3-1.7B"))
    chat.wait_condition("slow", "ModelReady", "False", reason="Downloading")
    found = json.loads(admin.run("qwen3", "status", "slow", "-n", chat.namespace, "-o", "json"))
    assert {s["name"]: s["state"] for s in found["stages"]}["download"] == "now"
    chat.delete("Qwen3Deployment", "slow")
    chat.api.delete("Stage", None, f"download-{chat.namespace}")


def test_models(person: Person) -> None:
    rows = json.loads(person.run("qwen3", "models", "-o", "json"))
    (row,) = [row for row in rows if row["model"] == "Qwen/Qwen3-0.6B"]
    assert (row["state"], row["users"], list(row["usedBy"])) == ("Ready", 1, ["chat"])
    assert row["bytes"] > 2**30


def test_models_of_all_namespaces(admin: Person) -> None:
    assert "Qwen/Qwen3-0.6B" in admin.run(*documented("kubectl qwen3 models -A").split()[1:])


def test_explain(person: Person, admin: Person) -> None:
    words = ("qwen3", "explain", "chat", "-n", person.namespace, "-o", "json")
    made = json.loads(person.run(*words))
    assert any("you may not read nodes" in note for note in made["notes"])
    made = json.loads(admin.run(*words))
    assert made["command"][:2] == ["vllm", "serve"] and made["preflight"]["verdict"] in ("Fits", "Unknown")


def test_doctor(person: Person) -> None:
    checks = json.loads(person.run("qwen3", "doctor", "-o", "json"))
    found = {check["name"]: check["verdict"] for check in checks}
    assert found["Kubernetes"] == found["CRDs"] == found["CRDs' fields"] == "ok", checks
    assert found["GPUs"] == "unknown", "a person of one namespace sees no nodes"
    assert found["resources"] == "ok"


def test_doctor_of_an_administrator(admin: Person) -> None:
    """The operator runs beside the cluster here, so its Deployment is not found: that, and no more, may be wrong."""
    shown = admin.run("qwen3", "doctor", "-n", admin.namespace, "-o", "json", expected=1)
    wrong = [check for check in json.loads(shown) if check["verdict"] == "wrong"]
    assert [check["name"] for check in wrong if check["name"] not in ("storage",)] == ["operator"], wrong
    assert "no operator was found" in admin.run(*documented("kubectl qwen3 doctor").split()[1:], expected=1)


def test_bundle(person: Person, cluster: devcluster.Cluster, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    before = len(list(cluster.requests()))
    documented("kubectl qwen3 bundle")
    person.run("qwen3", "bundle", "--file", str(path))
    with tarfile.open(path) as tar:
        files = {entry.name.split("/", 1)[1]: tar.extractfile(entry) for entry in tar.getmembers()}
        data = {name: it.read() for name, it in files.items() if it}
    assert {"doctor.json", "bundle.json", f"{person.namespace}/qwen3deployments.json"} <= set(data)
    assert f"{person.namespace}/pods.json" in data
    assert not [name for name, content in data.items() if SECRET.encode() in content]
    asked = [r for r in list(cluster.requests())[before:] if f":{person.namespace}:" in r["user"]["username"]]
    assert asked and not [r for r in asked if (r.get("objectRef") or {}).get("resource") == "secrets"]


def test_who_may_not(person: Person) -> None:
    assert "forbidden" in person.run("qwen3", "status", "-n", "kube-system", expected=1)
    shown = person.run("qwen3", "status", "chta", expected=1)
    assert "did you mean chat?" in shown


@pytest.mark.parametrize("words", [["status"], ["doctor"], ["models"], ["chat", "chat"]])
def test_without_a_cluster(programs: str, tmp_path: Path, words: list[str]) -> None:
    nowhere = {"clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}]}
    nowhere |= {
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "x"} | nowhere)
    )
    shown = Person(tmp_path / "kubeconfig", "default", programs).run("qwen3", *words, expected=1)
    assert "the cluster cannot be reached" in shown and len(shown.splitlines()) == 1


def test_completion_by_kubectl(person: Person) -> None:
    assert "chat" in person.run("__complete", "qwen3", "status", "ch").splitlines()
    assert "status" in person.run("__complete", "qwen3", "st").splitlines()

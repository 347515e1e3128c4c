"""Every command of the documents is run: by a test that takes it from there, or by CI. Else the reason stands here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.documents.snippets import ROOT, commands

NO_KUBELET = "needs a kubelet, and simulated nodes have none; tests/e2e forwards ports and reads logs of other names"
NO_DOCKER = "needs docker and a registry; images/ builds the same Dockerfiles by buildah, from another base"
NO_REGISTRY = "needs a registry of one's own; tests/images pushes a small image to one of its own, by the same function"
NO_MIRROR = "needs skopeo, and copies vLLM's image of 10 GB from Docker Hub"
NO_CLUSTER = "needs a cluster of one's own; tests/e2e does the same on one that it makes"
OF_THE_PLUGIN = "is of one name; tests/cluster/test_plugin.py and tests/unit/plugin run it with others"
NOT_RUN = {
    "pipx install .": "puts programs into the home folder; make setup installs the same package",
    "source <(kubectl-qwen3 completion bash)": "is of an interactive shell; tests/unit/plugin runs what it asks",
    "source <(kubectl-qwen3 completion zsh)": "is of an interactive shell; tests/unit/plugin runs what it asks",
    "kubectl qwen3 chat chat": NO_KUBELET,
    'kubectl qwen3 chat chat --prompt "Why is the sky blue?" --thinking off': NO_KUBELET,
    "kubectl qwen3 status chat -w": "goes on until Ctrl-C; a test runs it without -w",
    "kubectl qwen3 explain chat --gpu L4": OF_THE_PLUGIN,
    "kubectl qwen3 explain --model Qwen/Qwen3-8B --gpus": "is `qwen3-operator explain`, which the tests run",
    'kubectl create secret generic teams --from-literal=team-a="$(openssl rand -hex 24)" --from-literal=team-b="$(openssl rand -hex 24)"': "needs a kubelet; keys change in tests/engine_real/test_keys.py",  # noqa: E501
    'kubectl patch secret teams -p "{\\"stringData\\":{\\"team-a.2\\":\\"$(openssl rand -hex 24)\\"}}"': "needs a kubelet; keys change in tests/engine_real/test_keys.py",  # noqa: E501
    'kubectl patch secret teams --type json -p \'[{"op": "remove", "path": "/data/team-a"}]\'': "needs a kubelet; keys change in tests/engine_real/test_keys.py",  # noqa: E501
    "make demo": "takes the one real node that tests/e2e has; tests/e2e installs and asks by the demo's own functions",
    "kubectl port-forward service/qwen3-8b 8000": NO_KUBELET,
    "curl http://127.0.0.1:8000/v1/models": NO_KUBELET,
    "kubectl logs job/$(kubectl get q3m NAME -o jsonpath='{.status.download.job}')": NO_KUBELET,
    "docker build -f images/operator/Dockerfile -t registry.example/team/qwen3-operator:0.1.0 .": NO_DOCKER,
    "docker build -f images/downloader/Dockerfile -t registry.example/team/qwen3-downloader:0.1.0 .": NO_DOCKER,
    "docker push registry.example/team/qwen3-operator:0.1.0": NO_DOCKER,
    "docker push registry.example/team/qwen3-downloader:0.1.0": NO_DOCKER,
    "xargs -a dist/images.txt -I{} sh -c "
    """'skopeo copy --all "docker://$1" "docker://mirror.example/${1#*/}"' - {}""": NO_MIRROR,
    "make images-push REGISTRY=registry.example/team": NO_REGISTRY,
    'make images-push REGISTRY=registry.example/team ARGS="operator downloader"': NO_REGISTRY,
    "DEMO_KUBECONFIG=~/.kube/config DEMO_REGISTRY=registry.example/team make demo": NO_CLUSTER,
    "DEMO_KUBECONFIG=~/.kube/config DEMO_REGISTRY=registry.example/team make test-e2e": NO_CLUSTER,
    "DEMO_KUBECONFIG=~/.kube/config make demo-down": NO_CLUSTER,
}
"""Commands that nothing runs, and why. `make test-unit` prints them."""
DOCUMENTED = sorted({command for _, command in commands()})
CI = (ROOT / ".ci" / "run", ROOT / ".ci" / "nightly")


@cache
def run_by_tests() -> dict[str, str]:
    """Command -> the test file that runs it: each literal that is given to `documented`."""
    return {text: path.name for path in sorted((ROOT / "tests").rglob("*.py")) for text in _literals(path)}


def _literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "documented":
            (argument,) = node.args
            assert isinstance(argument, ast.Constant), f"{path.name}: documented() takes a literal"
            yield str(argument.value)


@cache
def run_by_ci() -> set[str]:
    """`make` commands that CI runs, and those that these run before their own work."""
    lines = {line.strip() for script in CI for line in script.read_text(encoding="utf-8").splitlines()}
    direct = {line for line in lines if line.startswith("make ")}
    needs = targets()
    found, waiting = set(), [line.split()[1] for line in direct]
    while waiting:
        target = waiting.pop()
        if target not in found:
            found.add(target)
            waiting += needs.get(target, ([], False))[0]
    # A target without work of its own is run where all that it needs is.
    found |= {name for name, (before, works) in needs.items() if before and not works and set(before) <= found}
    return direct | {f"make {name}" for name in found}


def targets() -> dict[str, tuple[list[str], bool]]:
    """Target of the Makefile -> what it needs, and whether it has work of its own."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.finditer(r"^([\w./-]+):(?!=)([^#\n]*)[^\n]*\n(\t)?", text, re.MULTILINE)
    return {rule[1]: (rule[2].split(), bool(rule[3])) for rule in rules}


@pytest.mark.parametrize("command", DOCUMENTED)
def test_is_run_somewhere(command: str) -> None:
    if command in run_by_tests() or command in run_by_ci():
        return
    assert command in NOT_RUN, f"nothing runs `{command}`: run it in a test by documented(), or say why not in NOT_RUN"
    pytest.skip(f"{command}: {NOT_RUN[command]}")


def test_no_reason_is_left_over() -> None:
    assert not set(NOT_RUN) - set(DOCUMENTED), "no document has these any more"
    assert not set(NOT_RUN) & (set(run_by_tests()) | run_by_ci()), "these are run by now"


@pytest.mark.parametrize(
    "target", sorted({found[1] for c in DOCUMENTED if (found := re.search(r"(?:^| )make ([a-z0-9-]+)", c))})
)
def test_make_knows_the_target(target: str) -> None:
    assert target in targets()


def test_ci_runs_what_it_says() -> None:
    assert {"make setup", "make verify", "make test-unit", "make test-e2e", "make test-fuzz"} <= run_by_ci()
    assert "make demo" not in run_by_ci()

"""Every command of the documents is run by a test, or the reason why not stands here."""

from __future__ import annotations

import re

import pytest
from tests.documents.snippets import ROOT, commands

# Command (a regular expression) -> where it is run.
RUN_BY = {
    r"make demo(-down)?": "tests/e2e",
    r"(DEMO_KUBECONFIG=\S+ )(DEMO_REGISTRY=\S+ )?make (demo(-down)?|test-e2e)": "tests/demo/test_given_cluster.py",
    r"make images-push REGISTRY=.*": "tests/images/test_push.py",
    r"make test": ".ci/run",
    r"make verify": ".ci/run",
    r"make setup": "hack/setup.sh",
    r"make test-\w+": "Makefile",
    r"make bench-\w+": "Makefile",
    r"helm install qwen3-operator charts/qwen3-operator .*": "tests/demo/test_given_cluster.py",
    r"helm uninstall qwen3-operator .*": "tests/demo/test_given_cluster.py",
    r"kubectl (get|wait|delete|port-forward|describe) .*": "tests/cluster",
    r"kubectl logs .*": "tests/e2e",
    r"kubectl patch node NAME --subresource=status .*": "devcluster/realnode/node.py",
    r"curl http://127.0.0.1:\d+/v1/models": "demo",
    r"qwen3-operator (explain|render|crd).*": "tests/unit/test_command_line.py",
    r"qwen3-download .*": "tests/download",
    # Docker and a registry are not to be had where these tests run; the Dockerfiles are built by images/.
    r"docker (build|push) .*": "images",
}


@pytest.mark.parametrize(("where", "command"), sorted(set(commands())))
def test_is_run_somewhere(where: str, command: str) -> None:
    places = [place for pattern, place in RUN_BY.items() if re.fullmatch(pattern, command)]
    assert places, f"{where}: nothing runs `{command}`: add it to a test, and here"
    assert (ROOT / places[0]).exists()


@pytest.mark.parametrize("target", sorted({c.split()[1] for _, c in commands() if c.startswith("make ")}))
def test_make_knows_the_target(target: str) -> None:
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

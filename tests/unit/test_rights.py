"""What the audit log shows of the operator's rights: the ledger names a refusal, and what nobody needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.rights import FOLDER, Ledger, Right, granted, is_refusal, used

ROOT = Path(__file__).parents[2]
USER = "system:serviceaccount:qwen3-system:qwen3-operator"
SERVICES = Right("update", "", "services")


def request(verb: str, resource: str, code: int = 200, **more: Any) -> dict[str, Any]:
    about, _, sub = resource.partition("/")
    reference = {"resource": about, "apiGroup": "apps" if about == "deployments" else ""}
    return {
        "verb": verb,
        "requestURI": f"/x/{resource}",
        "user": {"username": USER},
        "objectRef": reference | ({"subresource": sub} if sub else {}),
        "responseStatus": {"code": code} | more,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }


def whole(**fields: Any) -> Ledger:
    return Ledger(files={path.name for path in FOLDER.glob("test_*.py")}, **fields)


def test_what_a_request_uses() -> None:
    assert used(request("list", "pods")) == {Right("list", "", "pods")}
    assert used(request("get", "pods/log")) == {Right("get", "", "pods/log")}
    assert used(request("patch", "deployments")) == {Right("patch", "apps", "deployments")}
    made = {Right(verb, "apps", "deployments") for verb in ("patch", "create")}
    assert used(request("patch", "deployments", 201)) == made


def test_a_refusal_is_the_authorizers_word() -> None:
    by_rule = request("list", "pods", 403) | {"annotations": {"authorization.k8s.io/decision": "forbid"}}
    of_an_apply = request("patch", "services", 403, message=f'services "a" is forbidden: User "{USER}" cannot create')
    ending = request("patch", "services", 403, message='services "a" is forbidden: namespace x is being terminated')
    assert is_refusal(by_rule) and is_refusal(of_an_apply)
    assert not is_refusal(ending)
    ledger = Ledger()
    ledger.read([by_rule, ending, of_an_apply | {"user": {"username": "system:admin"}}], [USER])
    assert ledger.faults() == ["refused to the operator: list /x/pods: "]


def test_an_unused_right_is_named_where_every_test_ran() -> None:
    assert whole(granted={SERVICES}).faults() == ["granted by the chart, used by no test: update services"]
    assert whole(granted={SERVICES}, used={SERVICES}).faults() == []
    assert whole(granted={SERVICES}, partial=True).faults() == []
    assert Ledger(granted={SERVICES}, files={"test_drift.py"}).faults() == []


def test_what_workers_saw_comes_together() -> None:
    one = Ledger(granted={SERVICES}, files={"test_drift.py"}, refused={"list pods"})
    both = whole(used={SERVICES})
    both.add(Ledger.from_plain(one.plain()))
    assert both.granted == both.used == {SERVICES}
    assert both.faults() == ["refused to the operator: list pods"]


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_only_what_is_bound_is_granted(kind: str) -> None:
    role = {
        "kind": kind,
        "metadata": {"name": "it"},
        "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["update"]}],
    }
    binding = {
        "kind": f"{kind}Binding",
        "metadata": {"name": "it"},
        "roleRef": {"kind": kind, "name": "it"},
        "subjects": [{"name": "operator"}],
    }
    assert granted([role, binding], "operator") == {SERVICES}
    assert granted([role, binding], "somebody") == granted([role], "operator") == set()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("refused", [True, False])
def test_a_refusal_fails_a_session_whose_tests_pass(tmp_path: Path, workers: str, refused: bool) -> None:
    """Also where another process has seen it."""
    words = 'ledger.refused.add("PUT /services/chat")' if refused else "pass"
    (tmp_path / "test_it.py").write_text(f"def test_one(ledger):\n    {words}\n\n\ndef test_two():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-n", workers, "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == (1 if refused else 0)
    assert ("refused to the operator: PUT /services/chat" in done.stdout) is refused

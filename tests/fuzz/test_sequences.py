"""Sequences of specs on one Qwen3Deployment: the end depends on the last spec alone, and then there is rest.

`QWEN3_FUZZ=200` draws so many sequences, at random, and shrinks what fails; without it a few fixed ones are drawn.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.cluster.api import Refused
from tests.faults.bench import Bench, Case
from tests.faults.operator_thread import OperatorThread
from tests.faults.state import differences
from tests.fuzz.specs import specs

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES

EXAMPLES = int(os.environ.get("QWEN3_FUZZ", "0"))
PROGRESS_SECONDS = 8.0
REST_SECONDS = 1.5
MOST_REQUESTS_AT_REST = 120
"""Looks at what nobody watches come each second here; a hot loop makes hundreds."""

fuzz = settings(
    max_examples=EXAMPLES or 3,
    derandomize=not EXAMPLES,
    phases=None if EXAMPLES else [Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class Subject:
    """The Qwen3Deployment `chat` of one case, and the operator that looks after it."""

    def __init__(self, case: Case) -> None:
        self.case, self.world = case, case.world
        self.world.apply(
            _data("Secret", stringData={"key": "secret"}), _data("ConfigMap", data={"key": "{{ messages }}"})
        )
        self.operator: OperatorThread = case.operator()

    def set(self, spec: dict[str, Any]) -> bool:
        """Make `spec` the whole spec; False where the API server refuses it."""
        live = self.world.get("Qwen3Deployment", "chat")
        try:
            if live is None:
                self.world.api.create(_cr(self.world.namespace, spec))
            else:
                patch = [{"op": "replace", "path": "/spec", "value": spec}]
                self.world.patch("Qwen3Deployment", "chat", patch)
        except Refused as refused:
            note(f"refused: {refused}")
            return False
        self._check()
        return True

    def look(self) -> dict[str, Any]:
        """The servers, the Service and the status: what must not depend on the way."""
        found = {k: v for k, v in self.case.state().items() if k.startswith(("Deployment/", "Service/"))}
        status = self.world.must("Qwen3Deployment", "chat")["status"]
        told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        # Not the reasons: a length may be the one that was chosen when the servers were made.
        plan = {entry["field"]: entry["value"] for entry in status.get("plan") or []}
        return found | {"conditions": told, "engine": status.get("engine"), "plan": plan}

    def _check(self) -> None:
        def told() -> dict[str, Any]:
            return self.world.conditions("Qwen3Deployment", "chat")

        self.world.wait(told, "a look at the newest spec", within=30)
        with contextlib.suppress(AssertionError):  # a pod may well have to wait for a node
            self.world.wait(self._is_over, "an end", within=PROGRESS_SECONDS)
        self.case.wait_quiet(self.operator, lambda: True, "rest")
        status = self.world.must("Qwen3Deployment", "chat")["status"]
        found = {c["type"]: c["status"] for c in status["conditions"]}
        assert list(found) == [str(t) for t in DEPLOYMENT_TYPES], "exactly the declared conditions"
        assert found["Ready"] == "True" or "True" in (found["Reconciling"], found["Stalled"]) or _idle(status), found
        changes, writes, requests = self.operator.changes, len(self.operator.hook.writes), self.operator.sent
        time.sleep(REST_SECONDS)
        assert self.operator.changes == changes, f"writes at rest: {self.operator.hook.writes[writes:]}"
        assert self.operator.sent - requests < MOST_REQUESTS_AT_REST, "a hot loop"

    def _is_over(self) -> bool:
        """Whether neither chat nor a model has anything under way: a model may still download for a stalled chat."""
        kinds = {kind: self.world.list(kind) for kind in ("Qwen3Deployment", "Qwen3Model")}
        told = [self.world.conditions(kind, obj["metadata"]["name"]) for kind, found in kinds.items() for obj in found]
        return all(conditions.get("Reconciling", {}).get("status") == "False" for conditions in told)

    @property
    def settled(self) -> bool:
        """Whether nothing stands between the spec and the servers."""
        told = self.look()["conditions"]
        return bool(told["Ready"][0] == "True")


def _idle(status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["reason"] == "Suspended" for c in status["conditions"])


def _cr(namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "chat", "namespace": namespace}
    return {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": "Qwen3Deployment", "metadata": meta, "spec": spec}


def _data(kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "there"}, **fields}


@fuzz
@given(st.lists(specs(), min_size=2, max_size=4 if EXAMPLES else 3))
def test_the_way_does_not_matter(bench: Bench, sequence: list[dict[str, Any]]) -> None:
    note("\n".join(json.dumps(spec) for spec in sequence))
    with bench.case("way") as long, bench.case("direct") as short:
        walked, direct = Subject(long), Subject(short)
        taken = [spec for spec in sequence if walked.set(spec)]
        if not taken:
            return
        assert direct.set(taken[-1]), "what was taken from one is taken from another"
        if direct.settled:
            found = differences(walked.look(), direct.look())
            assert not found, "\n".join(found[:20])
        else:
            assert walked.look()["conditions"]["Accepted"] == direct.look()["conditions"]["Accepted"]


@fuzz
@given(specs(), specs())
def test_there_and_back_again(bench: Bench, home: dict[str, Any], away: dict[str, Any]) -> None:
    note(f"{json.dumps(home)}\n{json.dumps(away)}")
    with bench.case("back") as case:
        subject = Subject(case)
        if not subject.set(home) or not subject.settled:
            return
        before = subject.look()
        if subject.set(away):
            assert subject.set(home)
            found = differences(subject.look(), before)
            assert not found, "\n".join(found[:20])

"""Sequences of specs on one Qwen3Deployment: the end depends on the last spec alone, and then there is rest.

seeds.yaml has the seed, and how many sequences have to end in a full comparison: fewer are a failure. `make test-fuzz`
(QWEN3_FUZZ=full) runs the nightly number. QWEN3_FUZZ_ONLY=17, with `-k` for the test and its part, runs one again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.api import Refused
from tests.faults.bench import POLL_SECONDS, Bench, Case
from tests.faults.operator_thread import OperatorThread
from tests.faults.state import differences
from tests.fuzz.draw import Spec, sequences
from tests.fuzz.explore import COMPARED, explore

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Type
from qwen3_operator.api.reasons import Reason

MODE = yaml.safe_load((Path(__file__).parent / "seeds.yaml").read_text())[os.environ.get("QWEN3_FUZZ") or "ci"]
ONLY = os.environ.get("QWEN3_FUZZ_ONLY")
EACH = 25
"""Comparisons of one part, which is one test."""
PARTS = range(MODE["sequences"] // 2 // EACH)
MOST_DRAWN = 3 * EACH
AT_ONCE = int(os.environ.get("QWEN3_FUZZ_AT_ONCE", "8"))
PROGRESS_SECONDS = 20.0
REST_SECONDS = 1.5
BY_DESIGN = "a model that is held goes on under its name with another hub"
"""See reconcile/models.py, wanted_name."""
Conditions = dict[str, tuple[str, str]]
"""Type -> status and reason."""
MOST_REQUESTS_AT_REST = 120
"""Reconciles of what nobody watches come each second here; a hot loop makes hundreds."""


class Subject:
    """The Qwen3Deployment `chat` of one case, and the operator of its namespace."""

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
        except Refused:
            return False
        self._check()
        return True

    def observe(self) -> dict[str, Any]:
        """The servers, the Service and the status: what must not depend on the way."""
        found = {k: v for k, v in self.case.state().items() if k.startswith(("Deployment/", "Service/"))}
        status = self.world.must("Qwen3Deployment", "chat")["status"]
        reported = {c["type"]: (c["status"], _reason(c)) for c in status["conditions"]}
        # Not the reasons: a length may be the one that was chosen when the servers were made.
        plan = {entry["field"]: entry["value"] for entry in status.get("plan") or []}
        return found | {"conditions": reported, "engine": status.get("engine"), "plan": plan}

    def _check(self) -> None:
        def reported() -> dict[str, Any]:
            return self.world.conditions("Qwen3Deployment", "chat")

        self.world.wait(reported, "a reconcile of the newest spec", within=30)
        began = time.monotonic()
        # A server may well have to wait for a node, and would for ever.
        while self._under_way() and time.monotonic() - began < PROGRESS_SECONDS:
            time.sleep(POLL_SECONDS)
        before = self.case.wait_quiet(self.operator, lambda: True, "rest")
        live = self.world.must("Qwen3Deployment", "chat")
        status, service = live["status"], live["spec"].get("service") or {}
        found = {c["type"]: c["status"] for c in status["conditions"]}
        declared = [*DEPLOYMENT_TYPES, *([Type.ROUTED] if "gateway" in service else [])]
        assert list(found) == [str(t) for t in declared], "exactly the declared conditions"
        assert found["Ready"] == "True" or "True" in (found["Reconciling"], found["Stalled"]) or _idle(status), found
        # On a machine under load a volume or a pod may come late, and is news; what has no end of news is at fault.
        latest = time.monotonic() + PROGRESS_SECONDS
        while True:
            under_way = self._under_way()
            self.world.wait(lambda: self.operator.idle, "no write on its way")
            changes, writes, requests = self.operator.changes, len(self.operator.hook.writes), self.operator.sent
            time.sleep(REST_SECONDS)
            assert self.operator.sent - requests < MOST_REQUESTS_AT_REST, "a hot loop"
            # A model that is still downloading has progress to report.
            if "Qwen3Model" in under_way or self.operator.changes == changes:
                return
            assert under_way and time.monotonic() < latest, "\n".join(
                ["writes at rest:", *self.operator.hook.writes[writes:], *differences(self.case.state(), before)]
            )

    def _under_way(self) -> Collection[str]:
        """Kinds of which an object has something under way: a model may still download for a stalled chat."""
        found = [(kind, obj) for kind in ("Qwen3Deployment", "Qwen3Model") for obj in self.world.list(kind)]
        reported = [
            (kind, {c["type"]: c["status"] for c in obj.get("status", {}).get("conditions") or ()})
            for kind, obj in found
        ]
        return {kind for kind, conditions in reported if conditions.get("Reconciling") != "False"}

    @property
    def settled(self) -> bool:
        """Whether nothing stands between the spec and the servers."""
        reported = self.observe()["conditions"]
        return bool(reported["Ready"][0] == "True")


def _compare_accepted(walked: Conditions, direct: Conditions) -> str:
    """Compare all that can be compared of a spec that is not served in the end; what that was.

    Servers are asked for once their model is there, and only then can the API server refuse them. The model may be
    there on one way alone: it was downloaded for an earlier spec, and cannot be for this one.
    """
    refusals = [found["Accepted"][1] == Reason.DEPLOYMENT_REFUSED for found in (walked, direct)]
    if any(refusals) and walked["ModelReady"][0] != direct["ModelReady"][0]:
        return "servers were asked for on one way alone"
    assert walked["Accepted"] == direct["Accepted"]
    return "not served in the end: only Accepted was compared"


def _hubs_of_last_model(specs: list[Spec]) -> int:
    """How many hubs were named for the model of the last spec."""
    last = (specs[-1].get("model") or {}).get("id")
    models = [spec.get("model") or {} for spec in specs]
    return len({model.get("endpoint") for model in models if last and model.get("id") == last})


def _reason(condition: dict[str, Any]) -> str:
    """The reason, without warnings of claims: these outlive the spec that made them, and say so."""
    if condition["reason"] != Reason.ACCEPTED_WITH_WARNINGS:
        return str(condition["reason"])
    others = [words for words in condition["message"].split("; ") if "claim" not in words]
    return Reason.ACCEPTED_WITH_WARNINGS if others else Reason.ACCEPTED


def _idle(status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["reason"] == "Suspended" for c in status["conditions"])


def _cr(namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "chat", "namespace": namespace}
    return {"apiVersion": "serving.qwen3.dev/v1alpha1", "kind": "Qwen3Deployment", "metadata": meta, "spec": spec}


def _data(kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "there"}, **fields}


def _run(test: str, part: int, check: Callable[[list[Spec]], str]) -> None:
    """`check` sequences of one part, several at once."""
    drawn = sequences(f"{MODE['seed']} {test} {part}", MOST_DRAWN)
    if ONLY is not None:
        drawn = [drawn[int(ONLY)]]

    def checked(sequence: list[Spec]) -> str:
        try:
            return check(sequence)
        except AssertionError as error:
            raise AssertionError("\n".join([*map(json.dumps, sequence), str(error)])) from error

    print(f"{test} {part}: {dict(explore(checked, drawn, asked=1 if ONLY else EACH, at_once=AT_ONCE))}")


@pytest.mark.parametrize("part", PARTS)
def test_the_way_does_not_matter(bench: Bench, part: int) -> None:
    def check(sequence: list[Spec]) -> str:
        with bench.case("way") as long, bench.case("direct") as short:
            walked, direct = Subject(long), Subject(short)
            taken = [spec for spec in sequence if walked.set(spec)]
            if len(taken) < 2:
                return "one spec was admitted"
            if _hubs_of_last_model(taken) > 1:
                return BY_DESIGN
            assert direct.set(taken[-1]), "what was taken from one is taken from another"
            if not direct.settled:
                return _compare_accepted(walked.observe()["conditions"], direct.observe()["conditions"])
            found = differences(walked.observe(), direct.observe())
            assert not found, "\n".join(found[:20])
            return COMPARED

    _run("way", part, check)


@pytest.mark.parametrize("part", PARTS)
def test_there_and_back_again(bench: Bench, part: int) -> None:
    def check(sequence: list[Spec]) -> str:
        away, home = sequence[0], sequence[-1]
        if _hubs_of_last_model([away, home]) > 1:
            return BY_DESIGN
        with bench.case("back") as case:
            subject = Subject(case)
            if not subject.set(home):
                return "home was not admitted"
            if not subject.settled:
                return "home is not served"
            before = subject.observe()
            if not subject.set(away):
                return "away was not admitted"
            assert subject.set(home)
            found = differences(subject.observe(), before)
            assert not found, "\n".join(found[:20])
            return COMPARED

    _run("back", part, check)

"""Status of a Qwen3Deployment in every situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qwen3_operator.api.deployment import Qwen3DeploymentSpec, Qwen3DeploymentStatus
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan import NodeGpus, Weights, make_plan
from qwen3_operator.settings import Settings
from qwen3_operator.status.deployment import DeploymentView, deployment_status
from qwen3_operator.status.pods import PodView

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NODES = [NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8)]
ENDPOINT = "http://chat.team.svc.cluster.local:8000/v1"


def spec(**fields: Any) -> Qwen3DeploymentSpec:
    return Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}} | fields)


def condition(kind: str, status: str, reason: str, message: str = "words") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def model(ready: str = "True", reason: str = "Ready", *, stalled: str = "False", **status: Any) -> dict[str, Any]:
    conditions = [condition("Ready", ready, reason), condition("Stalled", stalled, reason)]
    return {"metadata": {"name": "weights"}, "status": {"conditions": conditions} | status}


def server(
    replicas: int = 1,
    ready: int = 1,
    updated: int | None = None,
    *,
    observed: int = 1,
    surge: int = 1,
) -> dict[str, Any]:
    counts = {"replicas": replicas, "readyReplicas": ready, "updatedReplicas": replicas if updated is None else updated}
    return {
        "metadata": {"generation": 1},
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge}}},
        "status": counts | {"observedGeneration": observed},
    }


def unplaced() -> PodView:
    words = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    scheduled = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]
    wanted = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
    status = {"phase": "Pending", "conditions": scheduled}
    return PodView({"metadata": {"name": "p"}, "spec": wanted, "status": status})


def placed(waiting: str = "", message: str = "") -> PodView:
    state = {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {}}
    containers = [{"name": "vllm", "image": "x:1", "ready": False, "state": state}]
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    status = {"phase": "Pending", "conditions": scheduled, "containerStatuses": containers}
    meta = {"name": "p", "labels": {"pod-template-hash": "before"}}
    return PodView({"metadata": meta, "spec": {"nodeName": "a"}, "status": status})


def waiting() -> PodView:
    """The scheduler has not said anything of it."""
    return PodView({"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending"}})


def evicted() -> PodView:
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    status = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "conditions": scheduled}
    return PodView({"metadata": {"name": "e"}, "spec": {"nodeName": "a"}, "status": status})


def status(it: Qwen3DeploymentSpec, previous: dict[str, Any] | None = None, **seen: Any) -> dict[str, Any]:
    plan = make_plan(Weights("weights", "Qwen3-8B-1"), it, Settings(identity="test"), NODES)
    fields: dict[str, Any] = {"now": NOW, "plan": plan, "endpoint": ENDPOINT} | seen
    found = deployment_status("chat", it, 4, previous or {}, DeploymentView(**fields))
    Qwen3DeploymentStatus.model_validate(found)
    assert [c["observedGeneration"] for c in found["conditions"]] == [4] * 8
    assert all(len(c["message"]) <= 4096 and len(c["reason"]) <= 128 for c in found["conditions"])
    return found


def reported(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in found["conditions"]}


SITUATIONS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, tuple[str, str]]]] = {
    "no model yet": (
        {},
        {},
        {"ModelReady": ("False", "NoModel"), "Ready": ("False", "NoModel"), "Stalled": ("False", "NotStalled")},
    ),
    "it downloads": (
        {},
        {"model": model("False", "Downloading")},
        {
            "Accepted": ("True", "Accepted"),
            "ModelReady": ("False", "Downloading"),
            "Reconciling": ("True", "Downloading"),
        },
    ),
    "the download needs a person": (
        {},
        {"model": model("False", "ModelNotFound", stalled="True")},
        {
            "Ready": ("False", "ModelNotFound"),
            "Stalled": ("True", "ModelNotFound"),
            "Reconciling": ("False", "Settled"),
        },
    ),
    "its server waits for a Secret": (
        {},
        {
            "model": model(),
            "server": server(ready=0),
            "pods": [placed("CreateContainerConfigError", 'secret "keys" not found')],
        },
        {"Available": ("False", "SecretNotFound"), "Stalled": ("False", "NotStalled")},
    ),
    "a Secret is missing": (
        {},
        {"model": model(), "problems": [Problem(Reason.SECRET_NOT_FOUND, "Secret keys does not exist", "spec.auth")]},
        {
            "Accepted": ("False", "SecretNotFound"),
            "Ready": ("False", "SecretNotFound"),
            "Reconciling": ("True", "SecretNotFound"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the API server refuses the Service": (
        {},
        {"model": model(), "problems": [Problem(Reason.SERVICE_REFUSED, "no")]},
        {"Accepted": ("False", "ServiceRefused"), "Stalled": ("True", "ServiceRefused")},
    ),
    "the API server cannot make the Service now": (
        {},
        {"model": model(), "problems": [Problem(Reason.SERVICE_REFUSED, "range is full", retried=True)]},
        {
            "Accepted": ("False", "ServiceRefused"),
            "Reconciling": ("True", "ServiceRefused"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "it starts": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [placed()]},
        {"Scheduled": ("True", "Scheduled"), "Available": ("False", "Starting"), "Reconciling": ("True", "Starting")},
    ),
    "the Deployment's controller has not observed it yet": (
        {},
        {"model": model(), "server": server(1, 1, observed=0)},
        {"Available": ("False", "Starting"), "Ready": ("False", "Starting")},
    ),
    "no GPU is free": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [unplaced()]},
        {
            "Scheduled": ("False", "InsufficientGpu"),
            "Ready": ("False", "InsufficientGpu"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "a server makes way for a pod of higher priority": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [unplaced()], "preempted": True},
        {
            "Scheduled": ("False", "Preempted"),
            "Ready": ("False", "Preempted"),
            "Reconciling": ("True", "Preempted"),
            "Stalled": ("False", "NotStalled"),
        },
    ),
    "the new one was not reconciled yet": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [waiting()], "preempted": True},
        {"Scheduled": ("False", "Preempted"), "Available": ("False", "Starting")},
    ),
    "its node is lost": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [replace(placed(), lost=True)]},
        {"Scheduled": ("True", "Scheduled"), "Available": ("False", "NodeLost"), "Stalled": ("False", "NotStalled")},
    ),
    "it was evicted, and another starts": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [waiting(), evicted()]},
        {"Scheduled": ("Unknown", "Scheduling"), "Available": ("False", "Evicted"), "Stalled": ("False", "NotStalled")},
    ),
    "the image's name is wrong": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [placed("InvalidImageName", "couldn't parse")]},
        {"Available": ("False", "InvalidImageName"), "Stalled": ("True", "InvalidImageName")},
    ),
    "the pods are refused": (
        {},
        {"model": model(), "server": server(0, 0), "pods_refused": "an admission webhook says no"},
        {"Available": ("False", "PodRefused"), "Stalled": ("True", "PodRefused")},
    ),
    "it serves": (
        {},
        {"model": model(), "server": server()},
        {"Available": ("True", "Available"), "Ready": ("True", "Serving"), "Reconciling": ("False", "Settled")},
    ),
    "a roll-out: the old one still serves": (
        {"replicas": 2},
        {"model": model(), "server": server(2, 2, updated=1), "pods": [placed(), placed()]},
        {"Available": ("False", "Starting"), "Ready": ("False", "Starting")},
    ),
    "a roll-out where no node has room yet: an old one goes first": (
        {},
        {"model": model(), "server": server(2, 1, updated=1), "pods": [unplaced(), placed()], "gpus_by_node": {"a": 1}},
        {"Scheduled": ("Unknown", "Scheduling"), "Stalled": ("False", "NotStalled")},
    ),
    "a roll-out where no node is so large": (
        {},
        {"model": model(), "server": server(2, 1, updated=1), "pods": [unplaced(), placed()], "gpus_by_node": {"a": 0}},
        {"Scheduled": ("False", "InsufficientGpu")},
    ),
    "a roll-out that waits for GPUs of one that ends": (
        {},
        {"model": model(), "server": server(1, 0), "pods": [unplaced()], "ending": 1, "gpus_by_node": {"a": 1}},
        {"Scheduled": ("Unknown", "Scheduling"), "Available": ("False", "Starting")},
    ),
    "suspended": (
        {"suspend": True},
        {"model": model(), "server": server(0, 0)},
        {"Ready": ("False", "Suspended"), "Reconciling": ("False", "Settled"), "Stalled": ("False", "NotStalled")},
    ),
    "scaled to nothing": (
        {"replicas": 0},
        {"model": model(), "server": server(0, 0)},
        {
            "Scheduled": ("True", "ScaledToZero"),
            "Available": ("True", "ScaledToZero"),
            "Ready": ("True", "ScaledToZero"),
            "Reconciling": ("False", "Settled"),
        },
    ),
    "being scaled to nothing": (
        {"replicas": 0},
        {"model": model(), "server": server(2, 2)},
        {"Available": ("False", "Stopping"), "Ready": ("False", "Stopping"), "Reconciling": ("True", "Stopping")},
    ),
    "scaled to nothing before its model is there": (
        {"replicas": 0},
        {"model": model("False", "Downloading")},
        {"Ready": ("False", "Downloading")},
    ),
    "suspended and scaled to nothing": (
        {"suspend": True, "replicas": 0},
        {"model": model(), "server": server(0, 0)},
        {"Available": ("False", "Suspended"), "Ready": ("False", "Suspended"), "Reconciling": ("False", "Settled")},
    ),
    "suspended, and the download failed": (
        {"suspend": True},
        {"model": model("False", "ModelNotFound", stalled="True")},
        {"Ready": ("False", "ModelNotFound"), "Stalled": ("True", "ModelNotFound")},
    ),
    "it will not fit": (
        {"model": {"id": "Qwen/Qwen3-235B-A22B"}},
        {"model": model()},
        {"Fits": ("False", "DoesNotFit"), "Ready": ("False", "DoesNotFit"), "Stalled": ("True", "DoesNotFit")},
    ),
    "it will not fit, and serves all the same": (
        {"model": {"id": "Qwen/Qwen3-235B-A22B"}, "preflight": "Warn"},
        {"model": model(), "server": server()},
        {"Fits": ("False", "DoesNotFit"), "Ready": ("True", "Serving"), "Stalled": ("False", "NotStalled")},
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_conditions(situation: str) -> None:
    fields, seen, expected = SITUATIONS[situation]
    found = reported(status(spec(**fields), **seen))
    assert {kind: found[kind] for kind in expected} == expected


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_second_reconcile_says_the_same(situation: str) -> None:
    fields, seen, _ = SITUATIONS[situation]
    first = status(spec(**fields), **seen)
    if reported(first)["Reconciling"][1] == "SecretNotFound":  # once it is not waited for any more
        first = status(spec(**fields), first, **seen, now=NOW + timedelta(seconds=20))
    assert status(spec(**fields), first, **seen, now=NOW + timedelta(hours=1)) == first


def test_once_the_preempted_pod_is_gone_the_status_remembers() -> None:
    def scheduled(previous: dict[str, Any], *pods: PodView) -> str:
        found = status(spec(), previous, model=model(), server=server(1, 0), pods=pods)
        previous.update(found)
        return next(str(c["reason"]) for c in found["conditions"] if c["type"] == "Scheduled")

    before: dict[str, Any] = status(spec(), model=model(), server=server(1, 0), pods=[unplaced()], preempted=True)
    assert scheduled(before, unplaced()) == scheduled(before, waiting()) == scheduled(before, unplaced()) == "Preempted"
    edited = before | {"observedGeneration": 3}
    assert scheduled(edited, unplaced()) == "InsufficientGpu", "an edit may be why there is no room"
    assert scheduled(before, placed()) == "Scheduled"
    assert scheduled(before, unplaced()) == "InsufficientGpu"


def test_a_message_names_the_field_and_how_many_more() -> None:
    problems = [Problem(Reason.INVALID_PATCH, "first", "spec.x"), Problem(Reason.NAME_TAKEN, "second")]
    found = status(spec(), problems=problems)
    accepted = next(c for c in found["conditions"] if c["type"] == "Accepted")
    assert accepted["message"] == "spec.x: first (and 1 more)"


def test_what_needs_a_person_is_said_before_what_passes() -> None:
    problems = [Problem(Reason.SERVICE_REFUSED, "passes", retried=True), Problem(Reason.INVALID_PATCH, "does not")]
    found = reported(status(spec(), problems=problems))
    assert found["Accepted"] == ("False", "InvalidPatch") and found["Stalled"] == ("True", "InvalidPatch")


UNREADABLE = [Problem(Reason.INVALID_SPEC, "words")]


def test_a_spec_that_cannot_be_read_is_reported() -> None:
    found = deployment_status("chat", None, 4, {}, DeploymentView(now=NOW, problems=UNREADABLE))
    assert reported(found)["Stalled"] == ("True", "InvalidSpec")
    assert (found["replicas"], found["readyReplicas"]) == (0, 0) and found["selector"]


def test_a_spec_that_cannot_be_read_leaves_the_status_of_what_runs() -> None:
    """As after a downgrade of the operator: an autoscaler reads replicas, people the endpoint."""
    before = status(spec(replicas=3), model=model(model={"commit": "c"}), server=server(3, 3))
    for view, ready in (
        (DeploymentView(now=NOW, problems=UNREADABLE), 3),
        (DeploymentView(now=NOW, problems=UNREADABLE, server=server(3, 2)), 2),
    ):
        found = deployment_status("chat", None, 5, before, view)
        kept = ("replicas", "endpoint", "model", "plan", "engine", "selector")
        assert {key: found[key] for key in kept} == {key: before[key] for key in kept}
        assert (found["readyReplicas"], found["observedGeneration"]) == (ready, 5)
        assert reported(found)["Ready"] == ("False", "InvalidSpec") and reported(found)["Stalled"] == (
            "True",
            "InvalidSpec",
        )
        assert reported(found)["Available"] == ("True", "Available"), "the servers serve"
        assert deployment_status("chat", None, 5, found, view) == found


def test_what_cannot_take_effect_is_a_warning() -> None:
    shared = model(conditions=[condition("Ready", "True", "Ready"),
                               condition("Accepted", "True", "AcceptedWithWarnings", "too small")])  # fmt: skip
    warning = Problem(Reason.CLAIM_UNUSED, "its claim is kept", severity="warning")
    found = status(spec(), model=shared, server=server(), warnings=[warning])
    accepted = next(c for c in found["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "AcceptedWithWarnings" and reported(found)["Ready"] == ("True", "Serving")
    assert accepted["message"] == "its claim is kept; Qwen3Model weights: too small"


def test_a_refused_model_leaves_the_one_that_is_served() -> None:
    before = status(spec(), model=model(model={"commit": "old"}), server=server())
    refused = [Problem(Reason.QWEN3_MODEL_REFUSED, "quota")]
    assert status(spec(), before, problems=refused, server=server())["model"] == before["model"]
    assert status(spec(), problems=refused)["model"] == {"id": "Qwen/Qwen3-8B"}


def test_until_the_new_model_is_ready_the_old_one_is_served() -> None:
    before = status(spec(), model=model(model={"commit": "old"}), server=server())
    assert before["model"] == {"name": "weights", "commit": "old"}
    newer = {**model("False", "Downloading", download={"bytesDone": 1}), "metadata": {"name": "other"}}
    during = status(spec(), before, model=newer, server=server())
    assert during["model"] == before["model"] and during["download"] == {"bytesDone": 1}
    after = status(spec(), during, model={**model(model={"commit": "new"}), "metadata": {"name": "other"}})
    assert after["model"] == {"name": "other", "commit": "new"} and "download" not in after


def test_what_scale_and_people_read() -> None:
    found = status(spec(replicas=3), model=model(), server=server(3, 2), pods=[placed()] * 3)
    assert (found["replicas"], found["readyReplicas"], found["endpoint"]) == (3, 2, ENDPOINT)
    assert found["selector"] == "app.kubernetes.io/component=server,serving.qwen3.dev/deployment=chat"
    assert found["engine"]["command"][:2] == ["vllm", "serve"]
    assert {entry["field"] for entry in found["plan"]} >= {"image", "maxModelLen"}


def test_a_server_without_the_middleware_serves_with_a_warning() -> None:
    seen = {"model": model(), "server": server(), "startup": {"pod": "chat-1", "withoutMiddleware": "SyntaxError()"}}
    found = status(spec(), **seen)
    (accepted,) = (c for c in found["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "AcceptedWithWarnings")
    assert "chat-1 runs without the operator's middleware (SyntaxError())" in accepted["message"]
    assert reported(found)["Ready"] == ("True", "Serving")
    # What was read of the start once is not read again.
    again = status(spec(), found, **(seen | {"startup": None}))
    assert again["conditions"] == found["conditions"]

"""To which servers a failed roll-out goes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests.cluster.wrappers import Q3d

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.controller.kinds import REPLICA_SETS, Kind
from qwen3_operator.desired.made_from import ANNOTATION, MadeFrom, inputs_of
from qwen3_operator.desired.rollout import RolledBack
from qwen3_operator.desired.server import server_template
from qwen3_operator.plan import Weights, make_plan
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.rollout import failed_rollout
from qwen3_operator.settings import Settings
from qwen3_operator.status.pods import PodView

WRONG = {"exitCode": 86, "message": "AnswersWrong: tool-call parser hermes: a call is left in the content"}
WEIGHTS = Weights("weights", "Qwen3-0.6B-1")


def made(length: int) -> MadeFrom:
    spec = Qwen3DeploymentSpec.model_validate(Q3d().engine(maxModelLen=length).spec)
    settings = Settings(identity="test")
    plan = make_plan(WEIGHTS, spec, settings, [])
    return MadeFrom(inputs_of(spec, WEIGHTS, ""), plan, server_template("chat", spec, plan, settings))


A, B, C = made(1024), made(2048), made(4096)


def replica_set(of: MadeFrom, revision: int, *, ready: int = 0, uid: str = "u") -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"chat-{of.inputs}",
            "labels": {"pod-template-hash": of.inputs},
            "annotations": {ANNOTATION: of.written(), "deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "name": "chat", "uid": uid, "controller": True}],
        },
        "status": {"readyReplicas": ready},
    }


def server(of: MadeFrom, progress: str = "ReplicaSetUpdated", surge: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": "chat", "namespace": "team", "uid": "u", "annotations": {ANNOTATION: of.written()}},
        "spec": {"strategy": {"rollingUpdate": {"maxSurge": surge}}},
        "status": {"conditions": [{"type": "Progressing", "status": "True", "reason": progress}]},
    }


def timed_out(server: dict[str, Any], *, of: MadeFrom) -> dict[str, Any]:
    """As the Deployment's controller says it."""
    words = f'ReplicaSet "chat-{of.inputs}" has timed out progressing.'
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": words}
    return {**server, "status": {"conditions": [late]}}


def failed_pod(of: MadeFrom, *, placed: bool = True) -> PodView:
    conditions = [{"type": "PodScheduled", "status": "True" if placed else "False", "reason": "Unschedulable"}]
    state = {"name": "vllm", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": WRONG}}
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [state]}
    return PodView({"metadata": {"name": "p", "labels": {"pod-template-hash": of.inputs}}, "status": status})


def crashed_pod(of: MadeFrom, restarts: int) -> PodView:
    """A node that rebooted, or a program that ends each time."""
    state = {"name": "vllm", "state": {"terminated": {"exitCode": 1}}, "restartCount": restarts}
    status = {"phase": "Running", "conditions": [PLACED], "containerStatuses": [state]}
    return PodView({"metadata": {"name": "p", "labels": {"pod-template-hash": of.inputs}}, "status": status})


def pulling_pod(of: MadeFrom, created: datetime) -> PodView:
    state = {"name": "vllm", "state": {"waiting": {"reason": "ErrImagePull", "message": "registry: EOF"}}}
    status = {"phase": "Pending", "conditions": [PLACED], "containerStatuses": [state]}
    meta = {"name": "p", "labels": {"pod-template-hash": of.inputs}, "creationTimestamp": created.isoformat()}
    return PodView({"metadata": meta, "status": status}, age=NOW - created)


def ready_pod(of: MadeFrom) -> PodView:
    conditions = [PLACED, {"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "conditions": conditions}
    return PodView({"metadata": {"name": "r", "labels": {"pod-template-hash": of.inputs}}, "status": status})


NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PLACED = {"type": "PodScheduled", "status": "True"}


class Listing:
    """The API server, as far as it lists ReplicaSets."""

    def __init__(self, sets: list[dict[str, Any]]) -> None:
        self.sets = sets

    async def list(self, kind: Kind, namespace: str, **_: Any) -> list[dict[str, Any]]:
        assert (kind, namespace) == (REPLICA_SETS, "team")
        return self.sets


async def gone_back(
    sets: list[dict[str, Any]], it: dict[str, Any], pods: list[PodView], refused: RolledBack | None = None
) -> tuple[RolledBack, MadeFrom] | None:
    context = cast(Context, type("Only", (), {"cluster": Listing(sets), "now": staticmethod(lambda: NOW)}))
    return await failed_rollout(context, it, pods, refused)


async def test_to_the_one_before() -> None:
    found = await gone_back([replica_set(A, 1), replica_set(B, 2)], server(B), [failed_pod(B)])
    assert found is not None
    refused, before = found
    assert (refused.inputs, refused.reason, refused.also) == (B.inputs, "AnswersWrong", ())
    assert "tool-call parser hermes" in refused.message
    assert before.inputs == A.inputs


@pytest.mark.parametrize(
    ("what", "sets", "it", "pods"),
    [
        ("nothing to go back to", [replica_set(B, 1)], server(B), [failed_pod(B)]),
        ("it was rolled out once", [replica_set(A, 1), replica_set(B, 2)], server(B, "NewReplicaSetAvailable"),
         [failed_pod(B)]),
        ("what fails is an old one", [replica_set(A, 1), replica_set(B, 2)], server(B), [failed_pod(A)]),
        ("it has no node", [replica_set(A, 1), replica_set(B, 2)], server(B), [failed_pod(B, placed=False)]),
        ("the spec is the same: kubectl rollout restart", [replica_set(A, 1), replica_set(B, 2), replica_set(B, 3)],
         server(B), [failed_pod(B)]),
        ("another of it serves", [replica_set(A, 1), replica_set(B, 2)], server(B), [failed_pod(B), ready_pod(B)]),
        ("it may have been the node", [replica_set(A, 1), replica_set(B, 2)], server(B), [crashed_pod(B, 1)]),
        ("it may be the registry", [replica_set(A, 1), replica_set(B, 2)], server(B), [pulling_pod(B, NOW)]),
        ("of somebody else", [replica_set(A, 1, uid="other"), replica_set(B, 2)], server(B), [failed_pod(B)]),
        ("not made by us", [replica_set(A, 1), replica_set(B, 2)], {**server(B), "metadata": {
            "name": "chat", "namespace": "team", "uid": "u"}}, [failed_pod(B)]),
    ],
)  # fmt: skip
async def test_not_where(what: str, sets: list[dict[str, Any]], it: dict[str, Any], pods: list[PodView]) -> None:
    assert await gone_back(sets, it, pods) is None, what


async def test_those_that_serve_go_before_newer_ones() -> None:
    """B was still starting when C came."""
    sets = [replica_set(A, 1, ready=1), replica_set(B, 2), replica_set(C, 3)]
    found = await gone_back(sets, server(C), [failed_pod(C)])
    assert found is not None
    assert found[1].inputs == A.inputs


async def test_it_does_not_go_to_and_fro() -> None:
    """None serves: B is gone back to, fails as well, and A is next; C stays the spec that is refused."""
    sets = [replica_set(A, 1), replica_set(B, 2), replica_set(C, 3)]
    first = await gone_back(sets, server(C), [failed_pod(C)])
    assert first is not None
    assert first[1].inputs == B.inputs
    sets = [replica_set(A, 1), replica_set(C, 3), replica_set(B, 4)]
    second = await gone_back(sets, server(B), [failed_pod(B)], first[0])
    assert second is not None
    assert (second[0].inputs, second[0].also, second[1].inputs) == (C.inputs, (B.inputs,), A.inputs)
    sets = [replica_set(C, 3), replica_set(B, 4), replica_set(A, 5)]
    assert await gone_back(sets, server(A), [failed_pod(A)], second[0]) is None


async def test_what_may_pass_counts_when_it_lasts() -> None:
    sets = [replica_set(A, 1), replica_set(B, 2)]
    for pods in ([crashed_pod(B, 3)], [pulling_pod(B, NOW - timedelta(minutes=6))]):
        found = await gone_back(sets, server(B), pods)
        assert found is not None, pods
        assert found[1].inputs == A.inputs


async def test_old_ones_come_back_where_their_end_made_no_room() -> None:
    sets, waiting = [replica_set(A, 1), replica_set(B, 2)], [failed_pod(B, placed=False)]
    assert await gone_back(sets, timed_out(server(B), of=B), waiting) is None, "nothing was taken down"
    for pods in (waiting, []):
        found = await gone_back(sets, timed_out(server(B, surge=0), of=B), pods)
        assert found is not None
        assert found[1].inputs == A.inputs


async def test_a_spec_that_is_gone_back_to_is_not_blamed_for_the_one_that_timed_out() -> None:
    """Kubernetes goes on to say it until a pod of the ReplicaSet that was there before comes, or is not asked yet."""
    sets = [replica_set(B, 2), replica_set(A, 3)]
    assert await gone_back(sets, timed_out(server(A, surge=0), of=B), []) is None
    late = timed_out(server(B, surge=0), of=B)
    assert await gone_back([replica_set(A, 1), replica_set(B, 2)], late, []) is not None
    late["metadata"]["generation"] = 4
    assert await gone_back([replica_set(A, 1), replica_set(B, 2)], late, []) is None, "it was changed since"


async def test_a_node_that_is_added_too_late_is_not_waited_for() -> None:
    sets = [replica_set(A, 1), replica_set(B, 2)]
    waiting = replace(failed_pod(B, placed=False), node_coming=True, autoscaler="pod triggered scale-up")
    found = await gone_back(sets, timed_out(server(B, surge=0), of=B), [waiting])
    assert found is not None
    assert (found[0].reason, found[1].inputs) == ("Unschedulable", A.inputs)
    assert "pod triggered scale-up" in found[0].message


async def test_a_slow_start_is_no_reason_to_go_back() -> None:
    starting = PodView({**ready_pod(B).pod, "status": {"phase": "Pending", "conditions": [PLACED]}})
    sets, late = [replica_set(A, 1), replica_set(B, 2)], timed_out(server(B, surge=0), of=B)
    assert await gone_back(sets, late, [starting]) is None


async def test_a_spec_that_is_tried_again_can_fail_again() -> None:
    """Its ReplicaSet of the first time is still there, with another template."""
    sets = [replica_set(B, 2), replica_set(C, 3), replica_set(B, 4)]
    found = await gone_back(sets, server(B), [failed_pod(B)])
    assert found is not None
    assert found[1].inputs == C.inputs

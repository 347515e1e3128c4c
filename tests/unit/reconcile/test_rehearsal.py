"""What the API server would say to a child that is not made yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import SERVED, World
from tests.unit.memory_cluster import MemoryCluster
from tests.unit.reconcile.test_adapters import NOW

from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import DEPLOYMENTS, JOBS
from qwen3_operator.controller.ownership import NameTaken
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Context, Key
from qwen3_operator.reconcile import rehearsal as module
from qwen3_operator.reconcile.context import utc_now
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.rehearsal import AGAIN_SECONDS, Rehearsal, Rehearsals
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

USER = Key(QWEN3_DEPLOYMENTS.kind, "team", "chat")
REFUSED = ApiError(422, "Invalid", "spec.template.spec.hostname: Invalid value")
POLICY = ApiError(403, "Forbidden", "denied the request: the image is not signed (dry run request)")
UNSUPPORTED = ApiError(400, "BadRequest", 'admission webhook "a.b" does not support dry run')
AWAY = ApiError(503, "ServiceUnavailable", "")


class Asked:
    """Counts the questions, and answers them."""

    def __init__(self) -> None:
        self.rehearsals, self.questions, self.at = Rehearsals(), 0, NOW
        self.answer: ApiError | None = None

    def ask(self, digest: str = "a", *, after: float = 0.0) -> Rehearsal:
        self.at += timedelta(seconds=after)
        return asyncio.run(self.rehearsals.ask(USER, digest, self.at, self._question))

    async def _question(self) -> None:
        self.questions += 1
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_what_was_taken_once_is_not_asked_again_until_it_changes(asked: Asked) -> None:
    assert asked.ask().taken and asked.ask(after=3600).taken and asked.questions == 1
    assert asked.ask("b").taken and asked.questions == 2
    asked.rehearsals.forget(USER)
    assert asked.ask("b").taken and asked.questions == 3


@pytest.mark.parametrize("refusal", [REFUSED, POLICY])
def test_what_was_refused_is_asked_again_after_a_minute(asked: Asked, refusal: ApiError) -> None:
    """A policy may have changed; the progress of the download brings reconciles each five seconds."""
    asked.answer = refusal
    assert [asked.ask(after=5).refusal for _ in range(10)] == [refusal] * 10 and asked.questions == 1
    asked.answer = None
    assert asked.ask(after=AGAIN_SECONDS).refusal is None and asked.questions == 2


def test_where_there_is_no_answer_the_one_before_is_reported(asked: Asked) -> None:
    asked.answer = AWAY
    assert asked.ask() == ("a", NOW, False, None)
    asked.answer = REFUSED
    assert asked.ask(after=AGAIN_SECONDS).refusal is REFUSED
    asked.answer = AWAY
    assert asked.ask(after=AGAIN_SECONDS).refusal is REFUSED and asked.questions == 3
    assert asked.ask("b").refusal is None, "that was another one"


def test_a_webhook_that_bears_no_rehearsal_is_no_refusal(asked: Asked) -> None:
    asked.answer = UNSUPPORTED
    assert asked.ask().taken


def test_a_webhook_that_hangs_holds_nobody(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    answer = asyncio.run(asked.rehearsals.ask(USER, "a", NOW, hang))
    assert not answer.taken and answer.refusal is None


class DryRuns(MemoryCluster):
    """Every apply has to be one."""

    async def apply(self, kind: Any, obj: Any, **how: Any) -> Any:
        assert how["dry_run"] and not how["force"]
        return await super().apply(kind, obj, **how)


@pytest.mark.parametrize("theirs", [False, True])
def test_nothing_is_made(theirs: bool) -> None:
    cluster = DryRuns()
    client, store = cast(Cluster, cluster), Store(WATCHED)
    context = Context(client, store, Settings(identity="test"), Recorder(client, "test"), Nodes(store))
    desired = {"metadata": child_metadata("team", "chat", "uid-of-chat"), "spec": {"replicas": 1}}
    if theirs:
        cluster.put(DEPLOYMENTS, {"metadata": {"namespace": "team", "name": "chat"}})
        with pytest.raises(NameTaken):
            asyncio.run(context.rehearse(DEPLOYMENTS, desired))
    else:
        asyncio.run(context.rehearse(DEPLOYMENTS, desired))
    assert not cluster.writes


@pytest.mark.parametrize("job_is_refused", [False, True])
def test_all_that_waits_for_a_person_is_said_at_once(monkeypatch: pytest.MonkeyPatch, job_is_refused: bool) -> None:
    """A Qwen3Deployment of this very moment waits for a model that may come in seconds; one that is stalled does not:
    what is said of the servers ten seconds later would be news in an object that rests."""
    world, make = World(), MemoryCluster.apply

    async def apply(cluster: MemoryCluster, kind: Any, obj: Any, **how: Any) -> Any:
        if kind == DEPLOYMENTS or (kind == JOBS and job_is_refused):
            raise REFUSED
        return await make(cluster, kind, obj, **how)

    monkeypatch.setattr(MemoryCluster, "apply", apply)
    chat = Q3d(SERVED)
    chat.manifest["metadata"]["creationTimestamp"] = timestamp(utc_now())
    world.apply(QWEN3_DEPLOYMENTS, chat)

    async def reconcile() -> None:
        await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
        await world.reconcile(QWEN3_MODELS, world.model_of(SERVED))
        await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)

    asyncio.run(reconcile())
    found = world.status(QWEN3_DEPLOYMENTS, SERVED)
    expected = ("True", "False", "DeploymentRefused") if job_is_refused else ("False", "True", "Accepted")
    assert (found["Stalled"][0], *found["Accepted"][:2]) == expected

"""What the API server would say to a child that is not made yet."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import DEPLOYMENTS
from qwen3_operator.controller.ownership import NameTaken
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Context, Key
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

USER = Key(QWEN3_DEPLOYMENTS.kind, "team", "chat")
REFUSED = ApiError(422, "Invalid", "spec.template.spec.hostname: Invalid value")
UNSUPPORTED = ApiError(400, "BadRequest", 'admission webhook "a.b" does not support dry run')


class Asked(MemoryCluster):
    """Counts the rehearsals, and answers them with `answer` where that is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = 0, None  # type: tuple[int, ApiError | None]

    async def apply(self, kind: Any, obj: Any, **how: Any) -> Any:
        assert how["dry_run"], "a rehearsal changes nothing"
        self.asked += 1
        if self.answer:
            raise self.answer
        return await super().apply(kind, obj, **how)


def deployment(**spec: Any) -> dict[str, Any]:
    return {"metadata": child_metadata("team", "chat", "uid-of-chat"), "spec": spec}


@pytest.fixture
def cluster() -> Asked:
    return Asked()


@pytest.fixture
def context(cluster: Asked) -> Context:
    client, store = cast(Cluster, cluster), Store(WATCHED)
    return Context(client, store, Settings(identity="test"), Recorder(client, "test"), Nodes(store))


def rehearse(context: Context, desired: dict[str, Any]) -> None:
    asyncio.run(context.rehearse(DEPLOYMENTS, USER, desired))


def test_what_was_taken_once_is_not_asked_again_until_it_changes(cluster: Asked, context: Context) -> None:
    for desired in (deployment(replicas=1), deployment(replicas=1), deployment(replicas=2)):
        rehearse(context, desired)
    assert cluster.asked == 2 and not cluster.writes and not cluster.objects


def test_what_was_refused_is_asked_again(cluster: Asked, context: Context) -> None:
    """A policy may have changed."""
    cluster.answer = REFUSED
    for _ in range(2):
        with pytest.raises(ApiError, match="hostname"):
            rehearse(context, deployment())
    cluster.answer = None
    rehearse(context, deployment())
    assert cluster.asked == 3


def test_a_webhook_that_bears_no_rehearsal_is_no_refusal(cluster: Asked, context: Context) -> None:
    cluster.answer = UNSUPPORTED
    rehearse(context, deployment())


def test_a_name_that_somebody_else_has_is_told(cluster: Asked, context: Context) -> None:
    cluster.put(DEPLOYMENTS, {"metadata": {"namespace": "team", "name": "chat"}})
    with pytest.raises(NameTaken):
        rehearse(context, deployment())
    assert cluster.asked == 0

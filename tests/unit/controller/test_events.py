"""Kubernetes Events: the same words raise a count."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fakes import FakeCluster

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import EVENTS

ABOUT: dict[str, Any] = {
    "apiVersion": "serving.qwen3.dev/v1alpha1",
    "kind": "Qwen3Deployment",
    "metadata": {"namespace": "team", "name": "chat", "uid": "u-1"},
}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def events(cluster: FakeCluster) -> list[dict[str, Any]]:
    return [obj for (kind, _, _), obj in cluster.objects.items() if kind == "Event"]


async def say(cluster: Any, note: str = "the weights are in place", about: dict[str, Any] = ABOUT) -> None:
    await Recorder(cluster, "me").say(about, reason="Verified", note=note, warning=False)


async def test_an_event_has_what_the_api_asks_for(cluster: FakeCluster) -> None:
    await say(cluster)
    (event,) = events(cluster)
    assert event["regarding"] == {
        "apiVersion": "serving.qwen3.dev/v1alpha1",
        "kind": "Qwen3Deployment",
        "namespace": "team",
        "name": "chat",
        "uid": "u-1",
    }
    assert event["metadata"]["namespace"] == "team"
    assert event["metadata"]["name"].startswith("chat.")
    assert (event["type"], event["reason"], event["note"]) == ("Normal", "Verified", "the weights are in place")
    assert event["eventTime"].endswith("Z") and event["action"] and event["reportingController"]
    assert event["reportingInstance"] == "me"


async def test_the_same_words_again_are_counted(cluster: FakeCluster) -> None:
    for _ in range(3):
        await say(cluster)
    (event,) = events(cluster)
    assert event["series"]["count"] == 3


async def test_other_words_or_another_object_are_another_event(cluster: FakeCluster) -> None:
    await say(cluster)
    await say(cluster, note="the weights are gone")
    await say(cluster, about=ABOUT | {"metadata": ABOUT["metadata"] | {"uid": "u-2"}})
    assert len(events(cluster)) == 3


async def test_a_long_note_is_cut(cluster: FakeCluster) -> None:
    await say(cluster, note="x" * 5000)
    assert len(events(cluster)[0]["note"]) == 1024 and events(cluster)[0]["note"].endswith("…")


async def test_an_event_that_cannot_be_written_stops_nothing(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fail_with = [ApiError(403, "Forbidden", "no events for you")]
    await say(cluster)
    assert "no events for you" in caplog.text and events(cluster) == []
    await say(cluster)
    cluster.fail_with = [ApiError(409, "AlreadyExists", ""), ApiError(409, "Conflict", "somebody was faster")]
    await say(cluster)
    assert "somebody was faster" in caplog.text


async def test_an_event_that_cannot_be_repeated_stops_nothing(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await say(cluster)

    async def fails(*_: Any) -> Any:
        raise ApiError(500, "InternalError", "etcd is away")

    monkeypatch.setattr(cluster, "get", fails)
    await say(cluster)
    assert "etcd is away" in caplog.text


async def test_a_warning_is_marked(cluster: FakeCluster) -> None:
    await Recorder(cluster, "i" * 300).say(ABOUT, reason="Stalled", note="no", warning=True)  # type: ignore[arg-type]
    (event,) = events(cluster)
    assert event["type"] == "Warning" and len(event["reportingInstance"]) == 128
    assert (EVENTS.kind, "team", event["metadata"]["name"]) in cluster.objects

"""The pods of a Job, where its end is seen before theirs; and what an autoscaler says of a pod without a node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import EVENTS, JOBS, PODS
from qwen3_operator.controller.store import Store
from qwen3_operator.reconcile import Context
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.pods import MOST_OF_JOB, pods_of_job, views_of, why_no_pods
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings
from qwen3_operator.status.pods import pod_trouble

NS = "team"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"batch.kubernetes.io/job-name": "work", "app.kubernetes.io/managed-by": "qwen3-operator"}


class World:
    """A Job with a pod. The watch of pods may be behind that of Jobs."""

    def __init__(self, ended: str | None) -> None:
        self.cluster, self.store = MemoryCluster(), Store(WATCHED)
        conditions = [{"type": ended, "status": "True"}] if ended else []
        self.job = self.cluster.put(
            JOBS, {"metadata": {"namespace": NS, "name": "work"}, "status": {"conditions": conditions}}
        )

    def pod(self, name: str, phase: str, *, shown: bool, owner: str = "") -> None:
        reference = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": "work",
            "uid": owner or self.job["metadata"]["uid"],
            "controller": True,
        }
        meta = {"namespace": NS, "name": name, "labels": LABELS, "ownerReferences": [reference]}
        pod = self.cluster.put(PODS, {"metadata": meta, "spec": {}, "status": {"phase": phase}})
        if shown:
            self.store.put(PODS, pod)

    def event(self, about: str, kind: str, *, ago: int, **said: str) -> None:
        """An Event about the object of that uid, as others write them."""
        at = (NOW - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"namespace": NS, "name": f"e{len(self.cluster.of(EVENTS))}"}
        event = {"metadata": meta, "regarding": {"uid": about}, "type": kind, "deprecatedLastTimestamp": at}
        self.cluster.put(EVENTS, event | said)

    def context(self) -> Context:
        client = cast(Cluster, self.cluster)
        settings = Settings(engine_image="vllm/vllm-openai:v0.33.0", identity="test")
        recorder = Recorder(client, "test")
        return Context(client, self.store, settings, recorder, Nodes(self.store), ModelUsers(), now=lambda: NOW)

    async def pods(self) -> dict[str, str]:
        """Name -> phase."""
        found: list[dict[str, Any]] = await pods_of_job(self.context(), self.job)
        return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in found}


@pytest.mark.parametrize("ended", ["Complete", "Failed"])
async def test_the_end_of_a_job_is_never_reported_without_what_its_pods_said(ended: str) -> None:
    phase = {"Complete": "Succeeded"}.get(ended, "Failed")
    world = World(ended)
    world.pod("work-1", phase, shown=False)
    world.pod("of-another", phase, shown=False, owner="another")
    assert await world.pods() == {"work-1": phase}


async def test_an_older_state_of_the_pod_is_not_enough() -> None:
    world = World("Failed")
    world.pod("work-1", "Running", shown=True)
    world.pod("work-1", "Failed", shown=False)
    assert await world.pods() == {"work-1": "Failed"}


async def test_that_one_shard_has_ended_says_nothing_of_the_other() -> None:
    world = World("Complete")
    world.pod("work-0", "Succeeded", shown=True)
    world.pod("work-1", "Running", shown=True)
    world.pod("work-1", "Succeeded", shown=False)
    assert await world.pods() == {"work-0": "Succeeded", "work-1": "Succeeded"}


async def test_pods_of_others_are_not_counted_among_those_of_many_shards() -> None:
    world = World("Complete")
    for index in range(MOST_OF_JOB):
        world.pod(f"forged-{index}", "Succeeded", shown=False, owner="another")
    for index in range(256):
        world.pod(f"work-{index}", "Succeeded", shown=False)
    assert len(await world.pods()) == 256


async def test_nothing_is_read_where_the_watch_has_shown_it() -> None:
    for ended, phase in (("Failed", "Failed"), (None, "Running"), (None, "Pending")):
        world = World(ended)
        world.pod("work-1", phase, shown=True)
        assert await world.pods() == {"work-1": phase}
        assert not world.cluster.reads


SCALES_UP = ("TriggeredScaleUp", "pod triggered scale-up: [{gpu-pool 0->1 (max: 5)}]")
NOT_MORE = ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")
NOMINATED = ("Nominated", "Pod should schedule on: nodeclaim/gpu-x7k2q")


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        ([], "NodeSelectorMismatch", "correct spec.scheduling.nodeSelector"),
        ([(60, *SCALES_UP)], "NodeComing", "gpu-pool 0->1"),
        ([(60, *NOMINATED)], "NodeComing", "nodeclaim/gpu-x7k2q"),
        ([(60, *NOT_MORE)], "NodeSelectorMismatch", "max node group size reached"),
        ([(90, *NOT_MORE), (60, *SCALES_UP)], "NodeComing", "gpu-pool 0->1"),
        ([(60, *NOT_MORE), (90, *SCALES_UP)], "NodeSelectorMismatch", "max node group size reached"),
        ([(3000, *SCALES_UP)], "NodeSelectorMismatch", "gpu-pool 0->1"),  # it never came
        ([(60, "Scheduled", "by another")], "NodeSelectorMismatch", "correct spec.scheduling.nodeSelector"),
    ],
)
async def test_a_node_that_is_being_added_is_waited_for(
    said: list[tuple[int, str, str]], reason: str, words: str
) -> None:
    world = World(None)
    message = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    meta = {"namespace": NS, "name": "chat-1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    pod = {"metadata": meta, "spec": {}, "status": {"phase": "Pending", "conditions": [unplaced]}}
    for ago, why, note in said:
        world.event("u", "Normal", ago=ago, reason=why, note=note)
    trouble = pod_trouble(await views_of(world.context(), [pod], "vllm"))
    assert trouble is not None
    assert (trouble.reason, trouble.needs_a_person) == (reason, reason != "NodeComing")
    assert words in trouble.message


async def test_why_a_job_has_no_pods_is_read_from_its_events() -> None:
    """Each names another pod, and from the tenth on Kubernetes combines them. Who wrote one may have left out words."""
    world = World(None)
    uid = world.job["metadata"]["uid"]
    world.job["status"]["startTime"] = "2026-01-01T00:00:00Z"
    assert await why_no_pods(world.context(), world.job) == ""
    world.event(uid, "Warning", ago=50, reason="FailedCreate", note='Error creating: pods "work-a" is forbidden: first')
    world.event(uid, "Warning", ago=40, note="words")
    assert await why_no_pods(world.context(), world.job) == 'pods "work-a" is forbidden: first'
    combined = '(combined from similar events): Error creating: pods "work-k" is forbidden: second'
    world.event(uid, "Warning", ago=30, reason="FailedCreate", note=combined)
    assert await why_no_pods(world.context(), world.job) == 'pods "work-k" is forbidden: second'


async def test_an_event_without_a_reason_is_read() -> None:
    world = World(None)
    world.event("u", "Warning", ago=1, note="hello")
    assert await world.context().warnings_about({"metadata": {"namespace": NS, "uid": "u"}}) == [": hello"]

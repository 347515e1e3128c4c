"""A Qwen3Batch whose lines go to servers that run: it waits for them, says why, and takes no GPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.reconcile.batch_world import LARGE, NAME, NS, SMALL, Object, World, of_earlier_release, reported

from qwen3_operator.controller.kinds import DEPLOYMENTS, JOBS
from qwen3_operator.naming import MANAGED_BY, MANAGER, QWEN3_DEPLOYMENTS, owner_reference
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS

RUNNING: Object = {"model": None, "deploymentRef": {"name": "chat"}, "target": "Running"}


def chat(world: World, ready: int = 0, **spec: Any) -> None:
    """The Qwen3Deployment `chat`, made or edited, with so many servers that are ready."""
    before = world.cluster.objects.get(("Qwen3Deployment", NS, "chat"))
    uid = before["metadata"]["uid"] if before else "uid-of-chat"
    meta = {"namespace": NS, "name": "chat", "uid": uid}
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "reason": "Loading", "message": "so it is"}]
    world.cluster.put(QWEN3_DEPLOYMENTS, {
        "metadata": meta, "spec": {"model": {"id": SMALL, "revision": "master"}} | spec,
        "status": {"conditions": conditions},
    })  # fmt: skip
    owner = owner_reference("Qwen3Deployment", QWEN3_DEPLOYMENTS.api_version, "chat", uid, controller=True)
    world.cluster.put(DEPLOYMENTS, {
        "metadata": {"namespace": NS, "name": "chat", "labels": {MANAGED_BY: MANAGER}, "ownerReferences": [owner]},
        "spec": {}, "status": {"readyReplicas": ready},
    })  # fmt: skip


NOT_SERVING: dict[str, tuple[Object, str]] = {
    "suspended": ({"suspend": True}, "ServersSuspended"),
    "scaled to zero": ({"replicas": 0}, "ServersScaledToZero"),
    "not ready": ({}, "ServersNotReady"),
}


@pytest.mark.parametrize(("spec", "reason"), NOT_SERVING.values(), ids=NOT_SERVING)
async def test_it_says_at_once_what_it_waits_for_and_begins_when_that_is_there(
    world: World, spec: Object, reason: str
) -> None:
    chat(world, **spec)
    world.apply(**RUNNING)
    status = await world.reconcile()
    assert reported(status, "Completed")[:2] == ("False", reason), "before the model is there"
    world.ready()
    status = await world.reconcile()
    assert reported(status, "Accepted")[0] == "True"
    for type in ("Completed", "Ready"):
        assert reported(status, type)[:2] == ("False", reason)
        assert "Qwen3Deployment chat" in reported(status, type)[2]
    assert (reported(status, "Stalled")[0], reported(status, "Reconciling")[:2]) == ("False", ("True", reason))
    assert world.cluster.of(JOBS) == [] and world.wait == TROUBLE_SECONDS
    chat(world, ready=1)
    status = await world.reconcile()
    pod = world.job()["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in str(pod)
    assert reported(status, "Completed")[1] == "Starting"


async def test_why_no_server_is_ready_is_reported(world: World) -> None:
    chat(world)
    world.apply(**RUNNING)
    assert "(Loading: so it is)" in reported(await world.reconcile(), "Completed")[2]


async def test_a_deployment_of_another_is_no_server(world: World) -> None:
    chat(world, ready=1)
    world.cluster.objects["Deployment", NS, "chat"]["metadata"]["ownerReferences"][0]["uid"] = "another"
    world.apply(**RUNNING)
    assert reported(await world.reconcile(), "Completed")[1] == "ServersNotReady"


@pytest.mark.parametrize("what", ["suspended", "scaled to zero", "deleted"])
async def test_a_job_waits_without_pods_while_there_are_no_servers(world: World, what: str) -> None:
    """Pods that find none would use up the tries of their shard."""
    chat(world, ready=1)
    job = await world.running(**RUNNING)
    if what == "deleted":
        world.remove(QWEN3_DEPLOYMENTS, "chat")
        reason = "DeploymentNotFound"
    else:
        spec, reason = NOT_SERVING[what]
        chat(world, ready=1, **spec)
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.job()["spec"]["suspend"] is True
    assert reported(status, "Completed")[:2] == ("False", reason) and "result" not in status["job"]
    chat(world, ready=0)
    status = await world.reconcile()
    assert world.job()["spec"]["suspend"] is True, "until there is one to answer"
    assert reported(status, "Completed")[1] == "ServersNotReady" and world.wait == TROUBLE_SECONDS
    chat(world, ready=1)
    await world.reconcile()
    assert world.job()["spec"]["suspend"] is False


async def test_servers_that_are_replaced_are_waited_for_by_the_pods_themselves(world: World) -> None:
    chat(world, ready=1)
    world.pod(await world.running(**RUNNING))
    chat(world, ready=0)
    status = await world.reconcile()
    assert world.job()["spec"]["suspend"] is False
    assert reported(status, "Completed")[:2] == ("False", "ServersNotReady")
    chat(world, ready=1)
    assert reported(await world.reconcile(), "Completed")[1] == "Starting"


async def test_who_suspended_the_batch_itself_reads_that(world: World) -> None:
    chat(world, suspend=True)
    job = await world.running(**RUNNING, suspend=True)
    status = await world.reconcile()
    assert job["spec"]["suspend"] is True and reported(status, "Ready")[1] == "Suspended"
    world.edit(suspend=False)
    assert reported(await world.reconcile(), "Ready")[1] == "ServersSuspended"
    assert world.job()["spec"]["suspend"] is True


@pytest.mark.parametrize("suspend", [True, False])
async def test_a_batch_with_an_engine_of_its_own_needs_no_servers(world: World, suspend: bool) -> None:
    chat(world, suspend=suspend)
    await world.running(model=None, deploymentRef={"name": "chat"})
    assert world.job()["spec"]["suspend"] is False and NAME in world.job()["metadata"]["name"]


async def test_the_end_does_not_wait_for_servers(world: World) -> None:
    chat(world, ready=1)
    job = await world.running(**RUNNING)
    chat(world, suspend=True)
    assert reported(await world.ended(job), "Ready")[:2] == ("True", "Completed")


async def test_a_job_of_the_spec_before_does_not_wait_for_the_servers_of_the_next(world: World) -> None:
    chat(world, ready=1)
    job = await world.running(**RUNNING)
    other = {"metadata": {"namespace": NS, "name": "other"}, "spec": {"model": {"id": SMALL}, "suspend": True}}
    world.cluster.put(QWEN3_DEPLOYMENTS, other)
    world.edit(deploymentRef={"name": "other"})
    status = await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.job()["spec"]["suspend"] is False
    assert reported(status, "Completed")[1] == "Starting"
    assert "goes on meanwhile: Qwen3Deployment other is suspended" in reported(status, "Accepted")[2]


@pytest.mark.parametrize("edit", [{"concurrency": 4}, {"deploymentRef": {"name": "other"}}], ids=str)
async def test_a_job_that_waits_for_its_servers_goes_on_waiting_after_an_edit(world: World, edit: Object) -> None:
    chat(world, ready=1)
    await world.running(**RUNNING)
    chat(world, ready=1, suspend=True)
    await world.reconcile()
    other = {"metadata": {"namespace": NS, "name": "other"}, "spec": {"model": {"id": LARGE}}}
    world.cluster.put(QWEN3_DEPLOYMENTS, other)
    world.edit(**edit)
    status = await world.reconcile()
    assert world.job()["spec"]["suspend"] is True
    assert reported(status, "Completed")[1] == "ServersSuspended" and world.wait == TROUBLE_SECONDS


async def test_another_job_that_asks_other_servers_is_made_though_the_one_before_waits(world: World) -> None:
    chat(world, ready=1)
    job = await world.running(**RUNNING)
    of_earlier_release(job)
    await world.reconcile()
    other = copy.deepcopy(world.cluster.objects["Qwen3Deployment", NS, "chat"])
    other["metadata"] = {"namespace": NS, "name": "other", "uid": "uid-of-other"}
    server = copy.deepcopy(world.cluster.objects["Deployment", NS, "chat"])
    server["metadata"] |= {"name": "other", "uid": "uid-of-its-server"}
    server["metadata"]["ownerReferences"][0] |= {"name": "other", "uid": "uid-of-other"}
    world.cluster.put(QWEN3_DEPLOYMENTS, other)
    world.cluster.put(DEPLOYMENTS, server)
    chat(world, ready=1, suspend=True)
    await world.reconcile()
    assert world.job()["spec"]["suspend"] is True
    world.edit(deploymentRef={"name": "other"})
    await world.reconcile()
    assert world.job()["metadata"]["uid"] != job["metadata"]["uid"] and world.job()["spec"]["suspend"] is False


async def test_another_key_makes_another_job(world: World) -> None:
    chat(world, ready=1)
    await world.running(**RUNNING, apiKeySecretRef={"name": "old", "key": "k"})
    world.edit(apiKeySecretRef={"name": "new", "key": "k"})
    await world.reconcile()
    (key,) = [it for it in world.job()["spec"]["template"]["spec"]["containers"][0]["env"] if "valueFrom" in it]
    assert key["valueFrom"]["secretKeyRef"]["name"] == "new"


async def test_where_an_autoscaler_has_the_number_spec_replicas_says_nothing(world: World) -> None:
    """What there is of servers does: spec.replicas is only what is gone back to."""
    scaled: dict[str, Any] = {
        "replicas": 0,
        "autoscaling": {"minReplicas": 0, "maxReplicas": 2, "target": {"concurrency": 8}},
    }
    chat(world, **scaled)
    world.apply(**RUNNING)
    await world.reconcile()
    world.ready()
    assert reported(await world.reconcile(), "Ready")[:2] == ("False", "ServersNotReady")
    chat(world, ready=1, **scaled)
    await world.reconcile()
    assert "nvidia.com/gpu" not in str(world.job()["spec"]["template"]["spec"])

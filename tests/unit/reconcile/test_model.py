"""Reconciles of a Qwen3Model: its claim, its Jobs, the folders of revisions before."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.cluster.wrappers import Q3d, Q3m
from tests.monitoring.operator_at_work import NAMESPACE, World, downloaded
from tests.unit.reconcile.served import fails

from qwen3_operator.api.model import Qwen3ModelStatus
from qwen3_operator.api.times import timestamp
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import CLAIMS, EVENTS, JOBS, SECRETS, STORAGE_CLASSES
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.context import utc_now
from qwen3_operator.reconcile.model import reconcile_model

NAME, UNKNOWN = "pinned", "team/tiny"
FOLDERS = [{"revision": "a", "path": "a"}, {"revision": "b", "path": "b"}]


def live(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.objects[QWEN3_MODELS.kind, NAMESPACE, NAME]
    return found


def jobs(world: World, *words: str) -> list[str]:
    """Names of the Jobs that have all these among their arguments."""
    said = [(it["metadata"]["name"], it["spec"]["template"]["spec"]["containers"][0]) for it in world.cluster.of(JOBS)]
    return [name for name, container in said if set(words) <= set(container["args"])]


def ends(world: World, job: str, how: str, **report: Any) -> None:
    """A Job of the model ends, and its pod says why."""
    at = timestamp(utc_now())
    over = {"type": how, "status": "True", "lastTransitionTime": at}
    status = {"startTime": at, "conditions": [over]} | ({"completionTime": at} if how == "Complete" else {})
    owner = {"kind": "Job", "name": job, "uid": world.changed(JOBS, job)["metadata"]["uid"]}
    world.changed(JOBS, job)["status"] = status
    ended = {"exitCode": 10, "finishedAt": at, "message": json.dumps({"result": how} | report)}
    phase = {"phase": "Failed", "containerStatuses": [{"name": "download", "state": {"terminated": ended}}]}
    world._pod(f"{job}-pod", {"batch.kubernetes.io/job-name": job}, owner, {"name": "download"}, phase)


async def edit(world: World, times: int = 2, **spec: Any) -> None:
    obj = world.changed(QWEN3_MODELS, NAME)
    obj["spec"] |= spec
    obj["metadata"]["generation"] += 1
    await world.reconcile(QWEN3_MODELS, NAME, times)


async def at_v1() -> World:
    """A model whose revision v1 is in place."""
    world = World()
    world.apply(QWEN3_MODELS, Q3m(NAME).set(revision="v1"))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    await downloaded(world, NAME)
    assert live(world)["status"]["model"]["revision"] == "v1"
    return world


async def listed() -> World:
    """A model that the catalogue does not know; the hub has said how large it is."""
    world = World()
    world.apply(QWEN3_MODELS, Q3m(NAME).set(id=UNKNOWN))
    await world.reconcile(QWEN3_MODELS, NAME)
    world.download_runs(NAME, 1)
    await world.reconcile(QWEN3_MODELS, NAME)
    world.download_ends(NAME)
    await world.reconcile(QWEN3_MODELS, NAME)
    return world


async def test_a_claim_stays_as_large_as_the_hub_said() -> None:
    world = await listed()
    claim = world.cluster.of(CLAIMS)[0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    world.bind(NAME)
    claim["spec"]["storageClassName"] = "fast"
    world.cluster.put(STORAGE_CLASSES, {"metadata": {"name": "fast"}, "allowVolumeExpansion": True})
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert world.cluster.of(CLAIMS)[0]["spec"]["resources"]["requests"]["storage"] == "3Gi"


async def test_the_download_begins_in_the_reconcile_that_hears_the_size() -> None:
    """No event would come: the claim is our own write, and its class may wait for a pod."""
    world = await listed()
    assert len(jobs(world)) == 1 and jobs(world, "--list") == []


async def test_a_claim_that_is_refused_is_no_copy() -> None:
    """What the Job before has said is no report of the download."""
    world = World()
    fails(world, CLAIMS, ApiError(403, "Forbidden", "exceeded quota: storage"))
    world.apply(QWEN3_MODELS, Q3m(NAME).set(id=UNKNOWN))
    await world.reconcile(QWEN3_MODELS, NAME)
    world.download_runs(NAME, 1)
    world.download_ends(NAME)
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert "model" not in live(world)["status"]
    assert world.status(QWEN3_MODELS, NAME)["Accepted"][1] == "PersistentVolumeClaimRefused"


async def test_a_revision_that_is_taken_back_is_not_fetched_any_more() -> None:
    world = await at_v1()
    await edit(world, revision="v2")
    assert len(jobs(world, "--revision=v2")) == 1
    await edit(world, 3, revision="v1")
    assert world.status(QWEN3_MODELS, NAME)["Ready"][0] == "True"
    assert jobs(world, "--revision=v2") == jobs(world, "--remove") != []


async def test_a_model_that_is_suspended_with_its_copy_in_place_has_no_job() -> None:
    world = await at_v1()
    await edit(world, revision="v2")
    await edit(world, 3, revision="v1", suspend=True)
    assert jobs(world, "--revision=v2") == [] and world.status(QWEN3_MODELS, NAME)["Ready"][0] == "True"


async def test_what_was_removed_is_not_removed_again() -> None:
    world = await at_v1()
    await edit(world, revision="v2")
    await edit(world, 3, revision="v1")
    (removal,) = jobs(world, "--remove")
    ends(world, removal, "Complete")
    await world.reconcile(QWEN3_MODELS, NAME)
    assert "superseded" not in live(world)["status"]
    world.cluster.objects.pop((JOBS.kind, NAMESPACE, removal))  # a day later its TTL took it
    world.start()
    world.cluster.writes.clear()
    await world.reconcile(QWEN3_MODELS, NAME, 4)
    assert world.cluster.writes == []


async def test_a_removal_that_is_refused_leaves_the_model_ready() -> None:
    world = await at_v1()
    await edit(world, revision="v2")
    ends(world, jobs(world, "--revision=v2")[0], "Complete", commit="c0ffee", bytes=9, files=3)
    fails(world, JOBS, ApiError(403, "Forbidden", "exceeded quota: jobs, used: 1, limited: 1"))
    await world.reconcile(QWEN3_MODELS, NAME, 6)
    assert live(world)["status"]["model"]["revision"] == "v2"
    said = world.status(QWEN3_MODELS, NAME)
    assert said["Ready"][0] == "True"
    assert said["Accepted"][:2] == ("True", "AcceptedWithWarnings") and "exceeded quota" in said["Accepted"][2]


async def test_a_folder_that_cannot_be_removed_is_told_of_and_in_the_way_of_none() -> None:
    world = await at_v1()
    world.changed(QWEN3_MODELS, NAME)["status"]["superseded"] = FOLDERS
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    (removal,) = jobs(world, "--remove")
    ends(world, removal, "Failed", reason="VolumeError", message="a: Input/output error")
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert len(jobs(world, "--remove", "--revision=b")) == 1
    said = world.status(QWEN3_MODELS, NAME)
    assert said["Ready"][0] == "True" and "a: Input/output error" in said["Accepted"][2]


async def test_the_folders_before_fit_into_the_status() -> None:
    """Else no status could be written any more, nor the copy that is in place at last."""
    world = World()
    world.apply(QWEN3_MODELS, Q3m(NAME).set(revision="v0"))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    world.bind(NAME)
    for number in range(1, 70):
        await edit(world, revision=f"v{number}")
    Qwen3ModelStatus.model_validate(live(world)["status"])


async def test_another_users_fault_does_not_begin_the_verification_anew() -> None:
    world = await at_v1()
    for number in range(2):
        world.apply(QWEN3_DEPLOYMENTS, Q3d(f"user-{number}").set(modelRef={"name": NAME}))

    async def fault(number: int) -> list[str]:
        at = timestamp(utc_now() + timedelta(seconds=60 * (number + 1)))
        world.changed(QWEN3_DEPLOYMENTS, f"user-{number}")["status"] = {"model": {"name": NAME}, "modelFaultAt": at}
        await world.reconcile(QWEN3_MODELS, NAME, 2)
        return jobs(world, "--verify")

    assert await fault(0) == await fault(1) != []


async def test_a_verification_that_nobody_asks_for_any_more_goes_on() -> None:
    """It may have taken a file away that it was about to fetch again."""
    world = await at_v1()
    world.apply(QWEN3_DEPLOYMENTS, Q3d("user").set(modelRef={"name": NAME}))
    at = timestamp(utc_now() + timedelta(seconds=60))
    world.changed(QWEN3_DEPLOYMENTS, "user")["status"] = {"model": {"name": NAME}, "modelFaultAt": at}
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    repair = jobs(world, "--verify")
    world.changed(QWEN3_DEPLOYMENTS, "user")["status"] = {}
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert jobs(world, "--verify") == repair != []


@pytest.mark.parametrize("read_secrets", [False, True])
async def test_a_failed_download_is_left_alone_until_its_retry(read_secrets: bool) -> None:
    """Where no Secret may be read, no other token is ever seen; and no log says more than the pod's last words."""
    world = World(read_secrets=read_secrets)
    world.cluster.put(SECRETS, {"metadata": {"namespace": NAMESPACE, "name": "t"}, "data": {"k": "eA=="}})
    world.apply(QWEN3_MODELS, Q3m(NAME).set(tokenSecretRef={"name": "t", "key": "k"}))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    world.bind(NAME)
    ends(world, world._job(NAME), "Failed", reason="Unauthorized", message="no")
    world.cluster.logs_read.clear()
    world.cluster.reads.clear()
    world.cluster.show(world.operator._store)
    again = await reconcile_model(world.operator._context, Key(QWEN3_MODELS.kind, NAMESPACE, NAME))
    if read_secrets:  # less and less often, but in time
        assert isinstance(again, Requeue) and again.trouble and 10 < again.by <= 15
    else:
        assert isinstance(again, float) and 10 < again <= 15
    assert world.cluster.logs_read == [] and world.cluster.reads["list Event"] == 0


async def test_the_hub_that_the_files_come_from() -> None:
    world = await at_v1()
    await edit(world, endpoint="https://mirror.example")
    assert live(world)["status"]["endpoint"] == "https://modelscope.cn"


@pytest.mark.parametrize(
    ("warning", "note", "reason"),
    [
        ("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', "Pending"),
        ("ProvisioningFailed", "rpc error: code = Unavailable desc = try again", "ProvisionerFailed"),
    ],
)
async def test_what_a_person_has_mended_is_not_told_until_its_event_goes(warning: str, note: str, reason: str) -> None:
    world = World()
    world.apply(QWEN3_MODELS, Q3m(NAME).storage(storageClassName="fast"))
    await world.reconcile(QWEN3_MODELS, NAME, 2)
    claim = world.cluster.of(CLAIMS)[0]
    said = [("Warning", warning, note), ("Normal", "WaitForFirstConsumer", "waiting for first consumer")]
    for minute, (kind, why, words) in enumerate(said):
        event = {"metadata": {"namespace": NAMESPACE, "name": kind}, "type": kind, "reason": why, "note": words}
        at = {"deprecatedLastTimestamp": f"2026-01-01T00:{minute:02d}:00Z"}
        world.cluster.put(EVENTS, event | at | {"regarding": {"uid": claim["metadata"]["uid"]}})
        await world.reconcile(QWEN3_MODELS, NAME, 2)
    assert world.status(QWEN3_MODELS, NAME)["VolumeBound"][1] == reason

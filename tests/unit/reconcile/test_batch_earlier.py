"""Jobs that a release before made are taken over as they are."""

from __future__ import annotations

import copy
import json

import pytest
from tests.unit.reconcile.batch_world import LARGE, NAME, NS, SMALL, World, lent, of_earlier_release, reported

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.source import ModelSource
from qwen3_operator.desired.batch import job_name
from qwen3_operator.desired.batch_record import ANNOTATION
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_MODELS, model_name, owner_reference


async def test_the_name_of_the_job_is_that_of_the_release_before(world: World) -> None:
    """As release c4bbbf7 gave them to these specs."""
    plain = Qwen3BatchSpec.model_validate(world.apply()["spec"])
    assert job_name("nightly", "u", plain) == "nightly-1b299d00"
    more = {"engine": {"maxNumSeqs": 4}, "ttlSecondsAfterFinished": 60, "suspend": True, "parallelism": 1}
    edited = Qwen3BatchSpec.model_validate(world.batch()["spec"] | more)
    assert job_name("nightly", "u", edited) == "nightly-98cf794d"
    lent = {key: value for key, value in world.batch()["spec"].items() if key != "model"}
    referring = Qwen3BatchSpec.model_validate(lent | {"deploymentRef": {"name": "chat"}})
    assert job_name("nightly", "u", referring) == "nightly-a16232d1"


async def test_another_default_of_another_release_does_not_touch_a_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = copy.deepcopy(await world.running())
    world.restart(engine_image="vllm/vllm-openai:v0.99.0")
    monkeypatch.setattr("qwen3_operator.desired.batch_record.inputs_of", lambda spec: "another digest")
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.job()["spec"] == job["spec"]
    assert world.batch()["status"]["engine"]["image"] == "vllm/vllm-openai:v0.33.0"


@pytest.mark.parametrize("renamed", [False, True], ids=["its name", "a name by other defaults"])
async def test_a_running_job_of_the_release_before_is_taken_over(world: World, renamed: bool) -> None:
    job = await world.running()
    of_earlier_release(job)
    if renamed:  # a default changed since: the name that this release would give is another
        del world.cluster.objects["Job", NS, job["metadata"]["name"]]
        job["metadata"]["name"] = "nightly-0ldname0"
        world.cluster.objects["Job", NS, job["metadata"]["name"]] = job
        world.batch()["status"]["job"]["name"] = "nightly-0ldname0"
    spec, before = copy.deepcopy(job["spec"]), copy.deepcopy(world.batch()["status"])
    world.restart(engine_image="vllm/vllm-openai:v0.99.0")
    assert await world.reconcile() == before
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"] and world.job()["spec"] == spec
    assert json.loads(world.job()["metadata"]["annotations"][ANNOTATION])["engine"] == before["engine"]
    world.edit(ttlSecondsAfterFinished=60)
    await world.reconcile()
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_finished_job_of_the_release_before_is_not_run_again(world: World) -> None:
    job = await world.running()
    of_earlier_release(job)
    world.end(job)
    world.restart()
    status = await world.reconcile()
    assert (reported(status, "Ready")[:2], status["engine"]["image"]) == (
        ("True", "Completed"),
        "vllm/vllm-openai:v0.33.0",
    )
    assert world.job()["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_finished_batch_of_the_release_before_lets_go(world: World) -> None:
    job = await world.running()
    held = copy.deepcopy(world.models())
    world.end(job)
    await world.reconcile()
    world.cluster.put(QWEN3_MODELS, {
        "metadata": {
            "namespace": NS, "name": next(iter(held)), "labels": {"app.kubernetes.io/managed-by": "qwen3-operator"},
            "ownerReferences": [owner_reference("Qwen3Batch", QWEN3_BATCHES.api_version, NAME,
                                                world.batch()["metadata"]["uid"], controller=False)],
        },
        "spec": {"id": SMALL},
    })  # fmt: skip
    world.restart()
    await world.reconcile()
    assert world.models() == {}


async def test_a_moved_target_under_the_release_before_does_not_hide_what_runs(world: World) -> None:
    job = await lent(world)
    small, large = model_name(ModelSource(id=SMALL)), model_name(ModelSource(id=LARGE))
    of_earlier_release(job)
    world.batch()["status"]["model"] = {"name": large}
    world.restart()
    status = await world.reconcile()
    assert status["model"]["name"] == small
    assert world.models() == {small: [NAME]}
